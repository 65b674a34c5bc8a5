"""Interest lists of epoll instances.  proc(5): fdinfo.

While the kernel writes the list, the process of the instance can neither wait nor change it: a list
of 19,000 takes some milliseconds.  Therefore a list that took long is not read again soon, a long
list is read in part, and an instance with several descriptors is read once.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from pathlib import Path

from xctl_probe.linux import epoll_fdinfo, procfs
from xctl_probe.linux.kcmp import is_same_file
from xctl_probe.linux.syscalls import TO_READ, anonymous_inode, epolls_among

_MOST_BYTES = 1 << 20  # of one list: about 13,000 entries
_MOST_DESCRIPTORS = 1_024  # of a process, among which instances are searched for
_MOST_INSTANCES = 16  # of a process
_LONG_NS = 1_000_000
_SHARE = 100  # a long list is read for at most this part (1/n) of the time
_MOST_KEPT = 8
_MOST_NESTED = 16  # nested instances of one instance, at any depth

_Entries = frozenset[tuple[int, int]]


class Epolls:
    """Reads interest lists; `partly` are the processes that were read in part."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._kept: OrderedDict[tuple[int, int], tuple[int, bool, _Entries]] = OrderedDict()
        self.partly: set[int] = set()

    def begin(self) -> None:
        """Start a sample: forget which processes were read in part."""
        self.partly.clear()

    def watches(self, pid: int, epoll: int) -> frozenset[int]:
        """Return the inodes whose data this instance, or a nested one, reports.

        The result may be cached.  `pid` is the thread whose folder shows the descriptors.
        """
        inodes: set[int] = set()
        waiting, seen = [epoll], {epoll}
        while waiting:
            entries = self._entries(pid, waiting.pop())
            inodes.update(inode for _, inode in entries)
            inner = (fd for fd, inode in entries if inode == anonymous_inode())
            for nested in epolls_among(pid, inner, self._proc):
                if nested not in seen and len(seen) <= _MOST_NESTED:
                    seen.add(nested)
                    waiting.append(nested)
        return frozenset(inodes)

    def _entries(self, pid: int, epoll: int) -> _Entries:
        """Return descriptor and inode of each entry that reports data.

        A one-shot entry reports once; the kernel clears its events until the process arms it again.
        """
        begun_ns = time.monotonic_ns()
        until_ns, partly, entries = self._kept.get((pid, epoll), (0, False, frozenset()))
        if begun_ns >= until_ns:
            # One read: the first makes the kernel write all of the list.
            text = procfs.read_once(f"{self._proc}/{pid}/fdinfo/{epoll}", _MOST_BYTES)
            partly = len(text) >= _MOST_BYTES
            entries = frozenset(
                (entry.fd, entry.inode)
                for entry in epoll_fdinfo.entries(text)
                if entry.inode and entry.events & TO_READ
            )
            took_ns = time.monotonic_ns() - begun_ns
            if took_ns > _LONG_NS:
                self._keep(pid, epoll, (begun_ns + took_ns * _SHARE, partly, entries))
        if partly:
            self.partly.add(pid)
        return entries

    def of(self, pid: int) -> list[int]:
        """Return one descriptor for each epoll instance of this process."""
        found: list[int] = []
        try:
            with os.scandir(f"{self._proc}/{pid}/fd") as entries:
                for count, entry in enumerate(entries):
                    if count >= _MOST_DESCRIPTORS or len(found) >= _MOST_INSTANCES:
                        self.partly.add(pid)
                        break
                    is_epoll = procfs.link(entry.path) == procfs.EPOLL
                    if is_epoll and not self._is_another(pid, found, entry.name):
                        found.append(int(entry.name))
        except OSError:
            return found
        return found

    def _is_another(self, pid: int, found: list[int], fd: str) -> bool:
        """True where this descriptor is a duplicate of one of `found`."""
        return any(is_same_file(pid, one, int(fd), self._proc) for one in found)

    def _keep(self, pid: int, epoll: int, kept: tuple[int, bool, _Entries]) -> None:
        self._kept[pid, epoll] = kept
        self._kept.move_to_end((pid, epoll))
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
