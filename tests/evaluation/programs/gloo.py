"""torch.distributed with gloo: an all_reduce, or the training of a model with DDP."""

from __future__ import annotations

import subprocess
from typing import ClassVar

from evaluation.programs.base import PYTHON
from evaluation.programs.ring import Ring, name


class Gloo(Ring):
    """Each step is an all_reduce of 400 kB."""

    name = "gloo"
    needs = "Debian's python3-torch"
    more: ClassVar[tuple[str, ...]] = ()

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


class Ddp(Gloo):
    """Each step is a forward and a backward pass of a small model, and an optimizer's step."""

    name = "ddp"
    more = ("ddp",)
