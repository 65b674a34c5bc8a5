"""Socket owners by inode, through /proc/<pid>/fd.  proc(5).

A search costs one readlink for each descriptor of the readable processes.  Therefore owners are
cached: an inode is searched for once, and a cached owner is checked with a single readlink.

After a fork both processes hold a socket, under the same number.  The parent is taken: a worker
that loads data, or writes a snapshot, inherits the connections of its parent and does not use them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.events import Process
from xctl_probe.linux.procfs import link, parent_of, read_process, socket_inode
from xctl_probe.linux.tasks import reader_of

_MOST_PARENTS = 8


@dataclass(frozen=True, slots=True)
class _Holding:
    process: Process
    reader: int  # the thread whose folder shows the descriptor
    fd: str


class Owners:
    """Socket owners by inode, among the processes that may be read."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._holding: dict[int, _Holding] = {}
        self._processes: dict[int, Process | None] = {}
        self._parents: dict[int, int] = {}
        self._closed: dict[str, int] = {}  # unreadable pid -> its uid at that time
        self._without: set[int] = set()  # pids without descriptors: kernel threads
        self._recent: list[str] = []  # pids that held found sockets, latest first
        self.reading = 0  # the process whose descriptors were read last

    def begin(self) -> None:
        """Start an interval: names are read again (a process may have called exec)."""
        self._processes.clear()
        self._parents.clear()

    def process(self, pid: int) -> Process | None:
        """Return the process with this pid, read once an interval; None when it is gone."""
        if pid not in self._processes:
            self._processes[pid] = read_process(pid, self._proc)
        return self._processes[pid]

    def get(self, inode: int) -> Process | None:
        """Return the last known owner of this socket, alive or not, else None."""
        holding = self._holding.get(inode)
        if holding is None:
            return None
        held, now = holding.process, self.process(holding.process.pid)
        # The same pid with another start time is another process.
        return now if now is not None and now.start_ticks == held.start_ticks else held

    def begin_sample(self) -> None:
        """Start a sample: answers are checked anew."""

    def is_current(self, inode: int) -> bool:
        """True when the cached owner of this inode still holds it."""
        return not self.stale((inode,))

    def stale(self, inodes: Iterable[int]) -> set[int]:
        """Return the inodes without a cached owner that still holds them."""
        wrong, root = set(), str(self._proc)
        for inode in sorted(inodes):  # neighbours share cache lines
            holding = self._holding.get(inode)
            if holding is not None:
                self.reading = holding.process.pid
                try:
                    target = os.readlink(f"{root}/{holding.reader}/fd/{holding.fd}")
                except OSError:
                    target = ""
                if target == f"socket:[{inode}]":
                    continue
            wrong.add(inode)
        return wrong

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the cached owners of closed sockets."""
        for inode in inodes:
            self._holding.pop(inode, None)

    def search(self, inodes: Collection[int], asker: int | None = None) -> set[int]:  # noqa: ARG002
        """Search for the owners of these sockets, until all are found.

        Where several processes hold a socket, one of them is taken, after a fork the parent; when
        it closes its copy, `is_current` is False.  Returns the inodes for which the search is not
        finished: none.
        """
        missing = set(inodes)
        found_in: list[str] = []
        for pid in self._candidates():
            if not missing:
                break
            for reader, fd, inode in self._sockets(pid):
                if inode not in missing:
                    continue
                if not self._hold(inode, pid, reader, fd):
                    break
                missing.discard(inode)
                if found_in[-1:] != [pid]:
                    found_in.append(pid)
        self._note_recent(found_in)
        return set()

    @property
    def refused(self) -> bool:
        """True where some process may not be read: it may hold any socket."""
        return bool(self._closed)

    def _hold(self, inode: int, pid: str, reader: int, fd: str) -> bool:
        """Cache the owner; False where the process is gone."""
        process = self.process(int(pid))
        if process is None:
            return False
        parent = self._inherited_from(process.pid, fd, inode)
        if parent is not None:
            process, reader = parent, parent.pid
        self._holding[inode] = _Holding(process, reader, fd)
        return True

    def _inherited_from(self, pid: int, fd: str, inode: int) -> Process | None:
        """Return the first ancestor that also holds the socket, None where the parent does not."""
        found = None
        for _ in range(_MOST_PARENTS):
            pid = self._parent(pid)
            if pid <= 1 or not self._may_read_links(pid) or self._link(pid, fd) != inode:
                break
            found = self.process(pid) or found
        return found

    def _parent(self, pid: int) -> int:
        if pid not in self._parents:
            self._parents[pid] = parent_of(pid, self._proc)
        return self._parents[pid]

    def _may_read_links(self, pid: int) -> bool:  # noqa: ARG002 - a search with a budget limits it
        return True

    def _note_recent(self, found_in: list[str]) -> None:
        self._recent = [*found_in, *(pid for pid in self._recent if pid not in found_in)][:64]

    def _candidates(self) -> Iterator[str]:
        # First the recent owners, then the youngest processes.
        yield from self._recent
        skip = set(self._recent)
        pids = [entry for entry in os.listdir(self._proc) if entry.isdigit()]
        for pid in sorted(pids, key=int, reverse=True):
            if pid in skip:
                continue
            # It stays unreadable until it changes its user (su, setpriv).
            if pid not in self._closed or self._closed[pid] != self._user(pid):
                yield pid
        for pid in self._closed.keys() - set(pids):
            del self._closed[pid]
        self._without &= set(map(int, pids))

    def _sockets(self, pid: str) -> Iterator[tuple[int, str, int]]:
        user = self._user(pid)  # before the try: it may change meanwhile
        try:
            reader, fds = self._descriptors(int(pid))
        except PermissionError:
            self._closed[pid] = user
            return
        except OSError:
            return
        for fd in fds:
            inode = self._link(reader, fd)
            if inode is not None:
                yield reader, fd, inode

    def _descriptors(self, pid: int) -> tuple[int, list[str]]:
        """Return the thread whose folder shows the descriptors, and the descriptors."""
        try:
            if fds := os.listdir(f"{self._proc}/{pid}/fd"):
                return pid, fds
        except PermissionError:
            if (reader := reader_of(pid, self._proc)) == pid:
                raise
        else:
            reader = pid if pid in self._without else reader_of(pid, self._proc)
            if reader == pid:
                self._without.add(pid)
                return pid, []
        return reader, os.listdir(f"{self._proc}/{reader}/fd")

    def _user(self, pid: str) -> int:
        try:
            # Not of /proc/<pid>: between setuid and exec it already has the new user, while the
            # descriptors still belong to root.
            return os.stat(f"{self._proc}/{pid}/fd").st_uid
        except OSError:
            return -1

    def _link(self, pid: int, fd: str) -> int | None:
        return socket_inode(link(f"{self._proc}/{pid}/fd/{fd}"))
