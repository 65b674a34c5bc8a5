"""Dask: a client, a scheduler and two workers, on connections that both sides use at any time."""

from __future__ import annotations

from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.process import Process
from evaluation.programs.base import Program
from evaluation.truth import NOTHING, RECEIVE, SEND, Truth, Wait

SCHEDULER, CLIENT, WORKERS = "scheduler", "client", ("worker1", "worker2")
REPLY = frozenset({"no_reply", None})
LOST = frozenset({"loss", "no_reply", None})
BOTH = frozenset({RECEIVE, SEND})


class Dask(Program):
    """Dask: a client, a scheduler, and two workers that get a task in turn.

    The client waits for the scheduler, and the scheduler for the worker with the fault.
    """

    name = "dask"
    needs = "distributed of PyPI"
    hosts = 4
    watched = (0, 1, 2, 3)
    faults: ClassVar = {
        "one": ("stop", "none", "compute", "idle", "sleep", "none"),
        "several": ("stop", "none", "drop", "idle", "sleep", "none"),
    }

    @classmethod
    def missing(cls) -> str:
        return cls.module("distributed")

    def start(self) -> None:
        self._node(SCHEDULER, 0).wait_for(lambda event: event.get("ready"))
        for host, worker in enumerate(WORKERS, 1):
            self._node(worker, host)
        self._node(CLIENT, 3)

    def _node(self, name: str, host: int) -> Process:
        addresses = self.room.address(0), self.port, self.room.address(host)
        return self.library(name, host, "dask_node.py", name, *addresses)

    def workers(self) -> list[Process]:
        return [self.room.processes[CLIENT]]

    def targets(self, fault: str) -> list[str]:
        return [CLIENT] if fault == "idle" else list(WORKERS)

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        return apply(fault, self.room, self.room.processes[target], seconds)

    def truth(self, fault: str, target: str) -> Truth:
        if fault in ("none", "idle"):
            return NOTHING
        causes = LOST if fault == "drop" else REPLY
        client = Wait(CLIENT, frozenset({SCHEDULER}), BOTH, REPLY)
        scheduler = Wait(SCHEDULER, frozenset({target}), BOTH, causes)
        if fault == "drop":
            lost = Wait(target, frozenset({SCHEDULER}), causes=causes)
            return Truth((client,), (scheduler, lost))
        return Truth((client,), (scheduler,), frozenset({target}))
