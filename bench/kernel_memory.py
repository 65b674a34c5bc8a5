"""All memory that the kernel holds for a program: a memory cgroup of its own counts it.

Maps are the least of it: the storage of sockets, the programs, descriptors and page tables are
in here, too.  cgroups(7), in both versions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.servers import wait_for

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Account:
    """One cgroup; None where this host has no memory controller for us."""

    folder: Path | None

    def join(self, pid: int) -> None:
        """What the process asks the kernel for from now on counts here."""
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(pid))

    def kib(self) -> float | None:
        """KiB that the kernel holds now; 4.x and later."""
        if self.folder is None:
            return None
        old = self.folder / "memory.kmem.usage_in_bytes"
        if old.exists():
            return int(old.read_text()) / 1024
        lines = (self.folder / "memory.stat").read_text().splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line[:7] == "kernel "), None)


@contextmanager
def account() -> Iterator[Account]:
    """An empty account, removed with the context."""
    folder = _parent()
    if folder is None:
        yield Account(None)
        return
    own = folder / f"xctl-bench-{os.getpid()}"
    own.mkdir()
    try:
        yield Account(own)
    finally:
        # A helper of the watcher exits soon after it.
        wait_for(lambda: not (own / "cgroup.procs").read_text(), "an empty cgroup")
        own.rmdir()


def _parent() -> Path | None:
    for folder in (_V1, _V2):
        if (folder / "memory.kmem.usage_in_bytes").exists() or _controls_memory(folder):
            return folder if os.access(folder, os.W_OK) else None
    return None


def _controls_memory(folder: Path) -> bool:
    subtree = folder / "cgroup.subtree_control"
    if not subtree.exists() or "memory" not in (folder / "cgroup.controllers").read_text():
        return False
    try:
        subtree.write_text("+memory")
    except OSError:
        return False
    return True
