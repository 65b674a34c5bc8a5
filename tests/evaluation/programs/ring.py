"""Ranks that exchange around a ring: the truth that gloo, DDP and NCCL share.

A rank exchanges with its two neighbours in the ring only.  When one rank does not come to the
collective operation, all others wait: its neighbours for it, the rest for a neighbour that waits.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.programs.base import Program
from evaluation.truth import NOTHING, RECEIVE, SEND, Truth, Wait

REPLY = frozenset({"no_reply", None})
PATH = frozenset({"loss", "no_reply", None})
SLOW = frozenset({"send_buffer", "loss"})
# Steps from the one that is running to the one before which all ranks pause.
PAUSE_AHEAD = 25
PAUSES = ("epoch", "checkpoint", "evaluate")


class Ring(Program):
    """`ranks` ranks; each step has 50 or 300 ms of own work."""

    ranks: ClassVar[int] = 4
    hosts = 4
    watched = (0, 1, 2, 3)
    faults: ClassVar = {
        "one": (
            "stop", "none", "compute", "epoch", "sleep", "none", "disk", "checkpoint", "deadlock",
            "evaluate", "kill",
        ),
        "several": (
            "stop", "none", "compute", "epoch", "drop", "none", "sleep", "checkpoint", "disk",
            "evaluate", "shape", "deadlock", "kill",
        ),
    }  # fmt: skip

    def start(self) -> None:
        self.port += self.ranks
        work_s, kind = self.rng.choice([0.05, 0.3]), self.rng.choice(["sleep", "compute"])
        for rank in range(self.ranks):
            self.rank(rank, work_s, kind)

    @abstractmethod
    def rank(self, rank: int, work_s: float, kind: str) -> None:
        """Start one rank with own work of so many seconds, of a kind (sleep or compute)."""

    def targets(self, fault: str) -> list[str]:
        return [name(0)] if fault == "checkpoint" else [name(rank) for rank in range(self.ranks)]

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        if fault not in PAUSES:
            return apply(fault, self.room, self.room.processes[target], seconds)
        ranks = self.workers()
        since = {one.name: len(one.events) for one in ranks}
        numbers = [e["number"] for one in ranks for e in one.events if "number" in e]
        at_step = max(numbers) + PAUSE_AHEAD
        for one in ranks:
            one.order(f"{fault} {seconds:.3f} {at_step}")
        begun = [one.wait_for(lambda e: e.get("fault") == fault, since[one.name]) for one in ranks]
        slowest = self.room.processes[name(0)]

        def heal() -> None:
            slowest.wait_for(lambda e: e.get("healed") == fault, since[slowest.name])

        return Applied(max(event["at"] for event in begun), heal)

    def truth(self, fault: str, target: str) -> Truth:
        names = [name(rank) for rank in range(self.ranks)]
        others = [one for one in names if one != target]
        if fault in ("stop", "compute", "sleep", "deadlock", "disk", "checkpoint"):
            must = tuple(self._waits(one, REPLY) for one in others)
            return Truth(must=must, culprits=frozenset({target}))
        if fault == "drop":
            # The host with the fault also drops what its own rank sends.
            causes = {target: PATH | {"local_drop"}}
            return Truth(must=tuple(self._waits(one, causes.get(one, PATH)) for one in names))
        if fault == "shape":
            sends = Wait(target, self.peers(target), frozenset({SEND}), SLOW)
            return Truth(must=(sends,), may=tuple(self._waits(one, PATH) for one in names))
        if fault == "kill":
            return Truth(may=tuple(self._waits(one, PATH) for one in others))
        return NOTHING

    def peers(self, of: str) -> frozenset[str]:
        """The ranks that a rank exchanges with."""
        rank = int(of.removeprefix("rank"))
        return frozenset({name((rank - 1) % self.ranks), name((rank + 1) % self.ranks)})

    def not_ports(self) -> frozenset[int]:
        """Ports of connections that ranks do not exchange on."""
        return frozenset()

    def _waits(self, who: str, causes: frozenset[str | None]) -> Wait:
        both = frozenset({RECEIVE, SEND})
        return Wait(who, self.peers(who), both, causes, self.not_ports())


def name(rank: int) -> str:
    return f"rank{rank}"
