"""What a process is seen to do, from the states of its threads.  proc(5): stat.

A read of stat never blocks, and any user may read it.
"""

from __future__ import annotations

import os
from pathlib import Path

from xctl_probe.events import PeerActivity
from xctl_probe.linux import procfs
from xctl_probe.linux.freezer import Freezer
from xctl_probe.linux.tasks import held_state_of

_MOST_THREADS = 1_024  # of one process; more are not read
# Of a process in a sample that has read `_MOST_ALL` of them.
_LEAST_THREADS, _MOST_ALL = 64, 16_384


class ThreadStates:
    """States of processes; results are cached until `begin` is called."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._freezer = Freezer(proc)
        self._known: dict[int, PeerActivity | None] = {}
        self._partly: set[int] = set()  # processes of which not all threads are read
        self._room = _MOST_ALL

    def begin(self) -> None:
        """Start a sample: clear the cache."""
        self._freezer.begin()
        self._known.clear()
        self._partly.clear()
        self._room = _MOST_ALL

    def of(self, pid: int) -> PeerActivity | None:
        """Return `FROZEN`, `STOPPED`, `RUNNING` or `DISK_SLEEP`; None: all threads sleep.

        Also None where the process is gone, and where those that were read sleep (`is_partial`).
        """
        if pid not in self._known:
            self._known[pid] = self._read(pid)
        return self._known[pid]

    def stopped(self, pid: int) -> PeerActivity | None:
        """Return `FROZEN` or `STOPPED` (SIGSTOP), mostly without a read of all threads, else None.

        A process that a debugger or tracer holds is None.
        """
        if self._freezer.frozen(pid):
            return PeerActivity.FROZEN
        return PeerActivity.STOPPED if held_state_of(pid, self._proc) == "T" else None

    def is_partial(self, pid: int) -> bool:
        """True where threads were left out, so that None of `of` means *not known*."""
        return pid in self._partly

    def _read(self, pid: int) -> PeerActivity | None:
        if self._freezer.frozen(pid):
            return PeerActivity.FROZEN
        if held_state_of(pid, self._proc):
            return PeerActivity.STOPPED
        states = {procfs.state(f"{self._proc}/{pid}/task/{tid}/stat") for tid in self._threads(pid)}
        # A process that writes to a disk runs in between: the sleep is the rarer sight.
        if "D" in states:
            return PeerActivity.DISK_SLEEP
        return PeerActivity.RUNNING if "R" in states else None

    def _threads(self, pid: int) -> list[str]:
        try:
            tids = os.listdir(f"{self._proc}/{pid}/task")
        except OSError:
            return []
        most = min(max(self._room, _LEAST_THREADS), _MOST_THREADS)
        if len(tids) > most:
            self._partly.add(pid)
        self._room -= min(len(tids), most)
        return tids[:most]
