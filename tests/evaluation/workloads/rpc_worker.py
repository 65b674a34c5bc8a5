"""A process of PyTorch RPC (TensorPipe over TCP).

Arguments: rank, number of ranks, address of rank 0, port, interface.  Rank 0 calls the others in
turn, every 20 to 100 ms; they serve.  Orders of rank 0: `idle S`; of the others: those of Fault.
"""

import os
import random
import sys
import time

from server_fault import Fault
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
rank, size, address, port, device = sys.argv[1:6]
rank, size = int(rank), int(size)
os.environ["TP_SOCKET_IFNAME"] = os.environ["GLOO_SOCKET_IFNAME"] = device

import torch  # noqa: E402
from torch.distributed import rpc  # noqa: E402

fault = Fault()


def double(tensor):
    fault.hold()
    step()
    return tensor * 2


def call_all():
    orders, tensor = Orders(), torch.ones(1000)
    while True:
        orders.idle()
        for other in range(1, size):
            time.sleep(random.uniform(0.02, 0.1))
            with Op():
                rpc.rpc_sync(f"worker{other}", double, args=(tensor,))
        step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    emit(ready=True)
    options = rpc.TensorPipeRpcBackendOptions(
        num_worker_threads=4, rpc_timeout=120, init_method=f"tcp://{address}:{port}",
        _transports=["uv"], _channels=["basic"],
    )  # fmt: skip
    rpc.init_rpc(f"worker{rank}", rank=rank, world_size=size, rpc_backend_options=options)
    if rank == 0:
        call_all()
    fault.start()
    rpc.shutdown()  # returns when rank 0 has nothing more to ask
