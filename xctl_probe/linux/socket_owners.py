"""Which process holds a socket, found through /proc/<pid>/fd.  proc(5).

Costs one readlink for each descriptor of the processes that one may look into, so answers
are kept: an inode is searched for once, and a kept answer is checked with a single readlink.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.events import Process
from xctl_probe.linux.tasks import reader_of

_PREFIX = "socket:["


@dataclass(frozen=True, slots=True)
class _Holding:
    process: Process
    reader: int  # the thread whose folder shows it
    fd: str


def read_process(pid: int, proc: Path = Path("/proc")) -> Process | None:
    """Name and start of a process, None when it is gone."""
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name may hold spaces and parentheses: it ends at the last ")".
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    if len(fields) < 20 or b"(" not in head or not fields[19].isdigit():  # noqa: PLR2004 - starttime is field 22
        return None
    comm = head.split(b"(", 1)[1]
    return Process(pid, int(fields[19]), comm.decode("utf-8", "backslashreplace"))


def real_user(pid: int | str, proc: Path = Path("/proc")) -> int:
    """Whose process it is, also where it may not be looked into; -1 when it is gone."""
    try:
        status = (proc / str(pid) / "status").read_bytes()
    except OSError:
        return -1
    words = status.partition(b"\nUid:")[2].split(maxsplit=1)
    return int(words[0]) if words and words[0].isdigit() else -1


class Owners:
    """Socket inode to process, for the processes that the caller may look into."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._holding: dict[int, _Holding] = {}
        self._processes: dict[int, Process | None] = {}
        self._closed: dict[str, int] = {}  # pid that may not be read -> its user then
        self._without: set[int] = set()  # pids without descriptors: kernel threads
        self._recent: list[str] = []  # pids that held what was looked for, latest first
        self.reading = 0  # the process whose descriptors were read last

    def begin(self) -> None:
        """Start an interval: names are read anew (a process may have called exec)."""
        self._processes.clear()

    def process(self, pid: int) -> Process | None:
        """The process with this pid, read once an interval; None when it is gone."""
        if pid not in self._processes:
            self._processes[pid] = read_process(pid, self._proc)
        return self._processes[pid]

    def get(self, inode: int) -> Process | None:
        """The process last seen to hold this socket, alive or not; None if none was."""
        holding = self._holding.get(inode)
        if holding is None:
            return None
        held, now = holding.process, self.process(holding.process.pid)
        # Another start under the same pid is another process.
        return now if now is not None and now.start_ticks == held.start_ticks else held

    def begin_sample(self) -> None:
        """Start a sample: answers are checked anew."""

    def is_current(self, inode: int) -> bool:
        """True when the kept answer for this inode is still right."""
        return not self.stale((inode,))

    def stale(self, inodes: Iterable[int]) -> set[int]:
        """Those of them for which the kept answer is not right any more, or there is none."""
        wrong, root = set(), str(self._proc)
        for inode in sorted(inodes):  # neighbours lie together in the kernel's memory and in ours
            holding = self._holding.get(inode)
            if holding is not None:
                self.reading = holding.process.pid
                try:
                    target = os.readlink(f"{root}/{holding.reader}/fd/{holding.fd}")
                except OSError:
                    target = ""
                if target == f"{_PREFIX}{inode}]":
                    continue
            wrong.add(inode)
        return wrong

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the answers for sockets that are gone."""
        for inode in inodes:
            self._holding.pop(inode, None)

    def search(self, inodes: Collection[int], asker: int | None = None) -> set[int]:  # noqa: ARG002
        """Look for the holders of these sockets; stops when all are found.

        Where several processes hold a socket, as after a fork, one of them is taken; the
        check by `holds` moves it on when that one closes its copy.  Returns those for which the
        search is not over: none.
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
        """True where the descriptors of some process may not be read: it may hold anything."""
        return bool(self._closed)

    def _hold(self, inode: int, pid: str, reader: int, fd: str) -> bool:
        """Keep the answer; False where the process is gone."""
        process = self.process(int(pid))
        if process is not None:
            self._holding[inode] = _Holding(process, reader, fd)
        return process is not None

    def _note_recent(self, found_in: list[str]) -> None:
        self._recent = [*found_in, *(pid for pid in self._recent if pid not in found_in)][:64]

    def _candidates(self) -> Iterator[str]:
        # Those that had new sockets before, then the youngest first.
        yield from self._recent
        skip = set(self._recent)
        pids = [entry for entry in os.listdir(self._proc) if entry.isdigit()]
        for pid in sorted(pids, key=int, reverse=True):
            if pid in skip:
                continue
            # Asking again is for nothing until it changes its user (su, setpriv).
            if pid not in self._closed or self._closed[pid] != self._user(pid):
                yield pid
        for pid in self._closed.keys() - set(pids):
            del self._closed[pid]
        self._without &= set(map(int, pids))

    def _sockets(self, pid: str) -> Iterator[tuple[int, str, int]]:
        user = self._user(pid)  # before the try: it may change just then
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
        """The descriptors of a process, and the thread in whose folder they are."""
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
            # Not of /proc/<pid>: between setuid and exec that is the new user's already, while
            # the descriptors stay root's.
            return os.stat(f"{self._proc}/{pid}/fd").st_uid
        except OSError:
            return -1

    def _link(self, pid: int, fd: str) -> int | None:
        try:
            target = os.readlink(f"{self._proc}/{pid}/fd/{fd}")
        except OSError:
            return None
        return int(target[len(_PREFIX) : -1]) if target.startswith(_PREFIX) else None
