"""A rank of a gloo job.

Arguments: rank, number of ranks, address of rank 0, port, interface, seconds of own work, what it
is (sleep or compute), and `ddp` to train a model with DistributedDataParallel instead of a bare
all_reduce of 400 kB.
"""

import os
import sys
from datetime import timedelta

import job
from workload import Op, die_with_parent, emit, now_ms

die_with_parent()
rank, size, address, port, device, work_s, kind = sys.argv[1:8]
rank = int(rank)
os.environ["GLOO_SOCKET_IFNAME"] = device

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

torch.set_num_threads(1)
emit(ready=True, at=now_ms())
with Op():
    dist.init_process_group(
        "gloo", init_method=f"tcp://{address}:{port}", rank=rank, world_size=int(size),
        timeout=timedelta(seconds=120),
    )  # fmt: skip

if "ddp" in sys.argv[8:]:
    model = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(100, 700), torch.nn.ReLU(), torch.nn.Linear(700, 1))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    inputs = torch.randn(16, 100)

    def exchange():
        optimizer.zero_grad()
        model(inputs).sum().backward()
        optimizer.step()

else:
    tensor = torch.ones(100_000)

    def exchange():
        dist.all_reduce(tensor)
        tensor.fill_(1.0)


job.run(rank, float(work_s), kind, exchange)
