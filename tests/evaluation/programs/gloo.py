"""Ranks of torch.distributed with gloo: own work, then an all_reduce over a ring.

A rank exchanges with its two neighbours in the ring only.  When one rank does not come to the
all_reduce, all others wait: its neighbours for it, and the rest for a neighbour that waits.
"""

from __future__ import annotations

import subprocess
from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.programs.base import PYTHON, Program
from evaluation.truth import NOTHING, RECEIVE, SEND, Truth, Wait

RANKS = 4
REPLY = frozenset({"no_reply", None})
PATH = frozenset({"loss", "no_reply", None})
SLOW = frozenset({"send_buffer", "loss"})
# Steps from the one that is running to the one in which all ranks pause.
PAUSE_AHEAD = 25


class Gloo(Program):
    """Four ranks; each step has 50 or 300 ms of own work and moves 400 kB."""

    name = "gloo"
    needs = "Debian's python3-torch"
    hosts = RANKS
    watched = tuple(range(RANKS))
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

    @classmethod
    def missing(cls) -> str:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", PYTHON, "-c", "import torch.distributed"],
            capture_output=True, check=False,
        )  # fmt: skip
        return "" if done.returncode == 0 else "apt-get install python3-torch"

    def start(self) -> None:
        self.port += 1
        self.work_s = self.rng.choice([0.05, 0.3])
        kind = self.rng.choice(["sleep", "compute"])
        for rank in range(RANKS):
            self.python(
                _name(rank), rank, "gloo_rank.py", rank, RANKS, self.room.address(0), self.port,
                self.room.device(), self.work_s, 100_000, kind,
            )  # fmt: skip

    def targets(self, fault: str) -> list[str]:
        if fault == "checkpoint":
            return [_name(0)]
        return [_name(rank) for rank in range(RANKS)]

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        if fault not in ("epoch", "checkpoint", "evaluate"):
            return apply(fault, self.room, self.room.processes[target], seconds)
        ranks = self.workers()
        since = {one.name: len(one.events) for one in ranks}
        numbers = [e["number"] for one in ranks for e in one.events if "number" in e]
        at_step = max(numbers) + PAUSE_AHEAD
        for one in ranks:
            one.order(f"{fault} {seconds:.3f} {at_step}")
        begun = [one.wait_for(lambda e: e.get("fault") == fault, since[one.name]) for one in ranks]
        slowest = self.room.processes[_name(0)]

        def heal() -> None:
            slowest.wait_for(lambda e: e.get("healed") == fault, since[slowest.name])

        return Applied(max(event["at"] for event in begun), heal)

    def truth(self, fault: str, target: str) -> Truth:
        names = [_name(rank) for rank in range(RANKS)]
        others = [name for name in names if name != target]
        if fault in ("stop", "compute", "sleep", "deadlock", "disk", "checkpoint"):
            must = tuple(_waits(name, REPLY) for name in others)
            return Truth(must=must, culprits=frozenset({target}))
        if fault == "drop":
            return Truth(must=tuple(_waits(name, PATH) for name in names))
        if fault == "shape":
            right = frozenset(_neighbours(target))
            sends = Wait(target, right, frozenset({SEND}), SLOW)
            return Truth(must=(sends,), may=tuple(_waits(name, PATH) for name in names))
        if fault == "kill":
            return Truth(may=tuple(_waits(name, PATH) for name in others))
        return NOTHING


def _name(rank: int) -> str:
    return f"rank{rank}"


def _neighbours(name: str) -> list[str]:
    rank = int(name.removeprefix("rank"))
    return [_name((rank - 1) % RANKS), _name((rank + 1) % RANKS)]


def _waits(name: str, causes: frozenset[str | None]) -> Wait:
    return Wait(name, frozenset(_neighbours(name)), frozenset({RECEIVE, SEND}), causes)
