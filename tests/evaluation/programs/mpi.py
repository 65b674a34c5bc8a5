"""Open MPI over its TCP transport: ranks that poll at 100 % of a core while they wait."""

from __future__ import annotations

import shutil
import subprocess
from typing import ClassVar

from evaluation.adopted import Adopted
from evaluation.process import Process
from evaluation.programs.base import PYTHON, WORKLOADS
from evaluation.programs.ring import Ring, name

LAUNCHER = "mpirun"


class Mpi(Ring):
    """Open MPI over TCP: three ranks of one host, which poll while they wait.

    mpirun starts the ranks, and they are reached through FIFOs.

    Which ranks exchange depends on the algorithm that Open MPI selects, so any peer is right.
    """

    name = "openmpi"
    needs = "Debian's openmpi-bin and python3-mpi4py"
    ranks = 3
    faults: ClassVar = {"one": Ring.faults["one"]}

    @classmethod
    def missing(cls) -> str:
        done = subprocess.run([PYTHON, "-c", "import mpi4py.MPI"], capture_output=True, check=False)
        if shutil.which(LAUNCHER) and done.returncode == 0:
            return ""
        return "apt-get install openmpi-bin python3-mpi4py"

    def rank(self, rank: int, work_s: float, kind: str) -> None:
        if rank == 0:
            self._launch(work_s, kind)
        self.room.processes[name(rank)].appear()

    def _launch(self, work_s: float, kind: str) -> None:
        for rank in range(self.ranks):
            old = self.room.processes.get(name(rank))
            if old is not None:
                self.room.ended.append(old)
            self.room.processes[name(rank)] = Adopted(name(rank), 0, self.room.folder)
        self.room.spawn(
            LAUNCHER, 0,
            [
                LAUNCHER, "-np", self.ranks, "--oversubscribe", "--mca", "pml", "ob1",
                "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo",
                "--mca", "oob_tcp_if_include", "lo", "--mca", "mpi_yield_when_idle", "1",
                PYTHON, WORKLOADS / "mpi_rank.py", self.room.folder, work_s, kind,
            ],
        )  # fmt: skip

    def workers(self) -> list[Process]:
        return [self.room.processes[name(rank)] for rank in range(self.ranks)]

    def peers(self, of: str) -> frozenset[str]:
        return frozenset(name(rank) for rank in range(self.ranks)) - {of}
