"""Exits of processes: one descriptor each, one call for all.  pidfd_open(2), Linux 5.3."""

from __future__ import annotations

import os
import resource
import select
from contextlib import suppress
from pathlib import Path

from xctl_probe.events import Process
from xctl_probe.linux import procfs
from xctl_probe.linux.tasks import state_of

_SHARE_OF_DESCRIPTORS = 4  # of those that the probe may open, this part is for processes
_MOST_DESCRIPTORS = 1_024
_STAT_BYTES = 1_024
_ENDED = ("Z", "X", "")
_READ_AT_ONCE = 16  # processes without a descriptor that one call reads, or a share of them
_SHARE_AT_ONCE = 4


class ProcessExits:
    """Processes that are watched until they exit.

    A process for which there is no descriptor is read in turns.
    """

    def __init__(self, most: int | None = None, proc: Path = procfs.PROC) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(limit // _SHARE_OF_DESCRIPTORS, _MOST_DESCRIPTORS)
        if most is not None:
            self._most = most
        self._proc = proc
        self._epoll: select.epoll | None = None
        self._by_fd: dict[int, Process] = {}
        self._turns: dict[Process, None] = {}  # the next first

    def watch(self, process: Process) -> None:
        """Watch a process; one that is gone is among the next `ended`."""
        fd = self._open(process.pid)
        if fd is None:
            self._turns[process] = None
        elif self._is_gone(process):  # the descriptor may be that of a later process
            os.close(fd)
            self._turns = {process: None} | self._turns
        elif self._register(fd):
            self._by_fd[fd] = process
        else:
            os.close(fd)
            self._turns[process] = None

    def ended(self) -> list[Process]:
        """Return the watched processes that have exited since the last call."""
        found = []
        if self._epoll is not None:
            for fd, _ in self._epoll.poll(0):
                found.append(self._by_fd.pop(fd))
                os.close(fd)  # which also takes it out of the epoll instance
        count = max(_READ_AT_ONCE, len(self._turns) // _SHARE_AT_ONCE)
        for process in list(self._turns)[:count]:
            del self._turns[process]
            if self._is_gone(process):
                found.append(process)
            else:
                self.watch(process)  # a descriptor may have become free
        return found

    def close(self) -> None:
        """Close every descriptor.  Safe to call twice."""
        for fd in self._by_fd:
            os.close(fd)
        self._by_fd.clear()
        self._turns.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def _open(self, pid: int) -> int | None:
        if len(self._by_fd) >= self._most:
            return None
        with suppress(OSError):
            return os.pidfd_open(pid)
        return None

    def _register(self, fd: int) -> bool:
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(fd, select.EPOLLIN)
        except OSError:
            return False
        return True

    def _is_gone(self, process: Process) -> bool:
        """True where the process has exited, a zombie included."""
        folder = self._proc / str(process.pid)
        text = procfs.read_once(folder / "stat", _STAT_BYTES)
        if not text:  # descriptors may have run out
            return not folder.exists()
        now, stat = procfs.parse_process(process.pid, text), procfs.parse_stat(text)
        if now is None or stat is None or now.start_ticks != process.start_ticks:
            return True
        return stat.state in _ENDED and state_of(process.pid, self._proc) in _ENDED
