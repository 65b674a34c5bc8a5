"""torch.distributed with gloo: an all_reduce, or the training of a model with DDP."""

from __future__ import annotations

import subprocess
from typing import ClassVar

from evaluation.faults import Applied
from evaluation.programs.base import PYTHON
from evaluation.programs.ring import Ring, name
from evaluation.truth import Truth, Wait


class Gloo(Ring):
    """torch.distributed with gloo: an all_reduce of 400 kB in each step."""

    name = "gloo"
    needs = "Debian's python3-torch"
    more: ClassVar[tuple[str, ...]] = ()
    # A rank that never comes: the others wait at the store of rank 0.
    faults: ClassVar = {layout: (*of, "absent") for layout, of in Ring.faults.items()}

    @classmethod
    def missing(cls) -> str:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", PYTHON, "-c", "import torch.distributed"],
            capture_output=True, check=False,
        )  # fmt: skip
        return "" if done.returncode == 0 else "apt-get install python3-torch"

    def rank(self, rank: int, work_s: float, kind: str) -> None:
        self.python(
            name(rank), rank, "gloo_rank.py", rank, self.ranks, self.room.address(0), self.port,
            self.room.device(), work_s, kind, *self.more,
        )  # fmt: skip

    def not_ports(self) -> frozenset[int]:
        """That of the store, by which the ranks find each other."""
        return frozenset({self.port})

    def targets(self, fault: str) -> list[str]:
        targets = super().targets(fault)
        return targets[1:] if fault == "absent" else targets

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        if fault != "absent":
            return super().inject(fault, target, seconds)
        for process in self.workers():
            process.end()
        self.port += self.ranks
        absent = [rank for rank in range(self.ranks) if name(rank) == target]
        started = [rank for rank in range(self.ranks) if rank not in absent]
        for rank in started:
            self.rank(rank, 0.05, "sleep")
        ready = [
            self.room.processes[name(rank)].wait_for(lambda event: event.get("ready"))
            for rank in started
        ]

        def heal() -> None:
            self.rank(absent[0], 0.05, "sleep")
            self.room.processes[target].wait_for(lambda event: event.get("ready"))

        return Applied(max(event["at"] for event in ready), heal)

    def truth(self, fault: str, target: str) -> Truth:
        if fault != "absent":
            return super().truth(fault, target)
        store = frozenset({name(0)})
        waits = {one: Wait(one, store) for one in map(name, range(self.ranks)) if one != target}
        return Truth(must=(*waits.values(),)[1:], may=(waits[name(0)],))


class Ddp(Gloo):
    """DistributedDataParallel over gloo: the training of a small model."""

    name = "ddp"
    more = ("ddp",)
