"""A rank of a gloo job: own work, then an all_reduce, again and again.

Arguments: rank, number of ranks, address of rank 0, port, interface, seconds of own work,
elements of the tensor, `sleep` or `compute`: what the own work is.
"""

import os
import sys
import time
from datetime import timedelta

from workload import Op, Orders, compute, die_with_parent, emit, now_ms, obey, step

die_with_parent()
rank, size, address, port, device, work, elements, kind = sys.argv[1:9]
rank, work = int(rank), float(work)
os.environ["GLOO_SOCKET_IFNAME"] = device

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

torch.set_num_threads(1)
orders = Orders()
emit(ready=True)
dist.init_process_group(
    "gloo", init_method=f"tcp://{address}:{port}", rank=rank, world_size=int(size),
    timeout=timedelta(seconds=120),
)  # fmt: skip
tensor = torch.ones(int(elements))
number, paused = 0, {}
while True:
    order = orders.take("compute", "sleep", "deadlock", "disk", "epoch", "checkpoint", "evaluate")
    if order and order[0] in ("epoch", "checkpoint", "evaluate"):
        paused[int(order[2])] = order
    elif order:
        obey(order)
    if number in paused:
        name, seconds = paused[number][0], float(paused[number][1])
        emit(fault=name, at=now_ms())
        if name == "evaluate":
            compute(seconds)
        elif name == "epoch" or rank == 0:
            time.sleep(seconds)
        emit(healed=name, at=now_ms())
    (time.sleep if kind == "sleep" else compute)(work)
    with Op():
        dist.all_reduce(tensor)
    tensor.fill_(1.0)
    number += 1
    step()
    if number % 5 == 0:
        emit(number=number)
