"""A process of a Dask cluster.  Arguments: role, address of the scheduler, its port, own address.

Roles: `scheduler`, `client` (a task of 10 ms for each worker in turn, every 20 to 100 ms), or the
name of a worker.  Orders of the client: `idle S`; of a worker: those of Fault, for its tasks.
"""

import asyncio
import os
import random
import sys
import time

import dask
from distributed import Client, Scheduler, Worker
from server_fault import Fault
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
ROLE, ADDRESS, PORT, OWN = sys.argv[1:5]
WORKERS = ("worker1", "worker2")
TASK_S = 0.01
dask.config.set({"distributed.worker.memory.terminate": False})


def task(_number):
    # A worker finds its orders by the module that it runs as a script.
    sys.modules["__main__"].fault.hold()
    time.sleep(TASK_S)
    return 1


def work():
    orders, number = Orders(), 0
    with Client(f"tcp://{ADDRESS}:{PORT}") as client:
        client.wait_for_workers(len(WORKERS))
        emit(ready=True)
        while True:
            orders.idle()
            time.sleep(random.uniform(0.02, 0.1))
            number += 1
            on = WORKERS[number % len(WORKERS)]
            with Op():
                client.submit(task, number, workers=[on], pure=False).result()
            step()


def measured(call):
    async def one(**arguments):
        with Op():
            return await call(**arguments)

    return one


async def serve():
    if ROLE == "scheduler":
        node = Scheduler(host=ADDRESS, port=int(PORT), dashboard=False)
    else:
        fault.start()
        folder = f"/tmp/dask-{os.getpid()}"
        node = Worker(
            f"tcp://{ADDRESS}:{PORT}", host=OWN, nthreads=1, name=ROLE, local_directory=folder,
            dashboard=False,
        )  # fmt: skip
    async with node:
        if ROLE != "scheduler":
            # What a worker itself waits for: the answer to its heartbeats.
            node.scheduler.heartbeat_worker = measured(node.scheduler.heartbeat_worker)
        emit(ready=True)
        await node.finished()


fault = Fault()
if __name__ == "__main__":
    work() if ROLE == "client" else asyncio.run(serve())
