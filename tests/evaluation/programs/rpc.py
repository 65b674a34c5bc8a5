"""PyTorch RPC: a caller that asks its workers in turn, on connections that both sides use."""

from __future__ import annotations

from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.programs.gloo import Gloo
from evaluation.programs.ring import name
from evaluation.truth import NOTHING, RECEIVE, SEND, Truth, Wait

CALLER = name(0)
REPLY = frozenset({"no_reply"})
LOST = frozenset({"loss", "no_reply", None})


class Rpc(Gloo):
    """PyTorch RPC: a caller that asks two workers in turn.

    The caller waits for the worker with the fault; the other worker has nothing to do.
    """

    name = "pytorch-rpc"
    ranks = 3
    hosts = 3
    watched = (0, 1, 2)
    faults: ClassVar = {
        "one": ("stop", "none", "sleep", "idle", "compute", "none", "deadlock"),
        "several": ("stop", "none", "drop", "idle", "sleep", "none", "compute", "deadlock"),
    }

    def rank(self, rank: int, work_s: float, kind: str) -> None:  # noqa: ARG002 - it has no work
        self.python(
            name(rank), rank, "rpc_worker.py", rank, self.ranks, self.room.address(0), self.port,
            self.room.device(),
        )  # fmt: skip

    def targets(self, fault: str) -> list[str]:
        return [CALLER] if fault == "idle" else [name(1), name(2)]

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        return apply(fault, self.room, self.room.processes[target], seconds)

    def truth(self, fault: str, target: str) -> Truth:
        if fault in ("none", "idle"):
            return NOTHING
        causes = LOST if fault == "drop" else REPLY
        waits = Wait(CALLER, frozenset({target}), frozenset({RECEIVE, SEND}), causes)
        lost = (Wait(target, frozenset({CALLER}), causes=LOST),) if fault == "drop" else ()
        return Truth((waits,), lost, frozenset() if lost else frozenset({target}))
