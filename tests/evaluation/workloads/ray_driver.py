"""The driver of a Ray cluster.  Arguments: address of the head, its port, own address, folder.

It asks two actors in turn, every 20 to 100 ms, for a task of 10 ms.  An actor opens FIFOs of the
folder as its stdin and stdout.  Orders of the driver: `idle S`; of an actor: those of Fault.
"""

import os
import random
import sys
import time

import ray
from server_fault import Fault
from workload import Op, Orders, die_with_parent, emit, step

TASK_S = 0.01
ACTORS = ("worker1", "worker2")


class Actor:
    """`name` is its process of the evaluation."""

    def __init__(self, name, folder):
        sys.stdin = open(os.path.join(folder, f"{name}.in"))  # noqa: SIM115 - as long as it lives
        sys.stdout = open(os.path.join(folder, f"{name}.out"), "w")  # noqa: SIM115
        emit(pid=os.getpid())
        self.fault = Fault()
        self.fault.start()

    def task(self):
        self.fault.hold()
        time.sleep(TASK_S)
        step()


def work(address, port, own, folder):
    ray.init(address=f"{address}:{port}", _node_ip_address=own, log_to_driver=False)
    remote = ray.remote(num_cpus=0)(Actor)
    actors = [remote.options(resources={name: 1}).remote(name, folder) for name in ACTORS]
    ray.get([actor.task.remote() for actor in actors])
    orders, number = Orders(), 0
    emit(ready=True)
    while True:
        orders.idle()
        time.sleep(random.uniform(0.02, 0.1))
        number += 1
        with Op():
            ray.get(actors[number % len(actors)].task.remote())
        step()


if __name__ == "__main__":
    die_with_parent()
    work(*sys.argv[1:])
