"""What a process is seen to do, from the states of its threads.  proc(5): stat.

A read of stat never blocks, and any user may read it.
"""

from __future__ import annotations

import os
from pathlib import Path

from xctl_probe.events import PeerActivity
from xctl_probe.linux import procfs
from xctl_probe.linux.freezer import Freezer
from xctl_probe.linux.tasks import state_of

_MOST_THREADS = 64  # of one process; more are not read
_STOPPED = ("T", "t")


class ThreadStates:
    """States of processes; results are cached until `begin` is called."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._freezer = Freezer(proc)
        self._known: dict[int, PeerActivity | None] = {}

    def begin(self) -> None:
        """Start a sample: clear the cache."""
        self._freezer.begin()
        self._known.clear()

    def of(self, pid: int) -> PeerActivity | None:
        """Return `FROZEN`, `STOPPED`, `RUNNING` or `DISK_SLEEP`; None: all threads sleep.

        Also None where the process is gone.
        """
        if pid not in self._known:
            self._known[pid] = self._read(pid)
        return self._known[pid]

    def _read(self, pid: int) -> PeerActivity | None:
        if self._freezer.frozen(pid):
            return PeerActivity.FROZEN
        if state_of(pid, self._proc) in _STOPPED:
            return PeerActivity.STOPPED
        states = {procfs.state(f"{self._proc}/{pid}/task/{tid}/stat") for tid in self._threads(pid)}
        # A process that writes to a disk runs in between: the sleep is the rarer sight.
        if "D" in states:
            return PeerActivity.DISK_SLEEP
        return PeerActivity.RUNNING if "R" in states else None

    def _threads(self, pid: int) -> list[str]:
        try:
            return os.listdir(f"{self._proc}/{pid}/task")[:_MOST_THREADS]
        except OSError:
            return []
