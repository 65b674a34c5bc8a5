"""A model of NCCL's socket transport: spinning receives on accepted, one-way connections."""

from __future__ import annotations

from evaluation.programs.ring import Ring, name


class Nccl(Ring):
    """A model of NCCL's socket transport: three ranks with spinning receives."""

    name = "nccl-model"
    ranks = 3
    hosts = 3
    watched = (0, 1, 2)

    def rank(self, rank: int, work_s: float, kind: str) -> None:
        addresses = [self.room.address(host) for host in range(self.ranks)]
        self.python(
            name(rank), rank, "nccl_rank.py", rank, self.ranks, work_s, kind, self.port, *addresses
        )
