"""Search for the owners of sockets, in small pieces.

A search reads the descriptors of all processes, and any user may have a million of them.  Therefore
it is interrupted after a short time and continues with the next call.  The users whose processes
are read, and the users whose sockets are searched for, each have an account.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import Budget, scaled
from xctl_probe.linux.procfs import is_kernel_thread, real_user
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.linux.tasks import reader_of

_MOST_WANTED = 4_096
_MOST_PASSES = 4  # over all readable processes; then a socket counts as unattributed
# For one user in a pass, whatever the debt of the account, with the default budget.
_FREE_NS, _MOST_FREE_NS = 20_000_000, 500_000_000
# Share of the time that searches may take in bursts, and the longest burst with the default budget.
_PACE, _AT_ONCE_NS = 0.1, 20_000_000
_LONGEST_BURST_NS = 500_000_000
_PIECE = 64  # descriptors between two reads of the clock
_LARGE = 512  # descriptors
_ALL = "all"


class _Candidate(NamedTuple):
    rank: tuple[bool, int, int]
    pid: str
    uid: int


class _Folder(NamedTuple):
    """The folder `fd` of a process: uid (-1 when it is gone), descriptors (0 before Linux 6.2)."""

    uid: int
    size: int
    inode: int = 0


class Search(Owners):
    """Owners with a search that is interrupted, continues with the next call and has a budget."""

    def __init__(
        self,
        budget: Budget | None = None,
        proc: Path = Path("/proc"),
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
        *,
        barred: Barred | None = None,
        most_wanted: int = _MOST_WANTED,
        notes_finished: bool = False,
    ) -> None:
        super().__init__(proc)
        self._budget = budget or Budget()
        self._clock = clock
        self._cpu_clock = cpu_clock  # charged: on a busy host a search is interrupted
        self._barred = barred or Barred()
        self._most_wanted = most_wanted
        self._free_of_user_ns = scaled(_FREE_NS, self._budget.share, _MOST_FREE_NS)
        self._free_ns = self._free_until_ns = 0
        self.share = self._budget.share  # of a core
        burst_ns = scaled(_AT_ONCE_NS, self.share, _LONGEST_BURST_NS)
        self._pace = Budget(max(_PACE, self.share), burst_ns)
        self._wanted: dict[int, int | None] = {}  # inode -> user of the socket
        self._passes: dict[int, int] = {}  # inode -> passes that did not find it
        self._notes_finished = notes_finished
        self._finished: list[int] = []  # inodes, where they are noted
        self._pass: Iterator[int] | None = None  # yields the user whose process was read last
        self._targets: set[int] = set()  # inodes that the pass searches for
        self._askers: frozenset[int | None] = frozenset()
        self._spent_ns: dict[int, int] = {}  # in this pass, by user of the process
        # Sockets of the passes since one was added, and the pids that were read whole in them: the
        # next pass continues with the others.
        self._sought: set[int] = set()
        self._read_whole: set[str] = set()
        self._deferred: set[int] = set()  # users with descriptors that this pass leaves out
        self._resume: dict[int, tuple[str, int]] = {}  # user -> pid and descriptor to continue with
        # pid -> inode of its folder, which the next process with this pid does not have
        self._kernel_threads: dict[str, int] = {}
        self._listed: set[str] = set()  # pids when they were last listed

    def successor(self) -> Search:
        """Another search for the same, with all that was found: the reader of this one hangs."""
        other = Search(
            self._budget, self._proc, self._clock, self._cpu_clock, barred=self._barred,
            most_wanted=self._most_wanted, notes_finished=self._notes_finished,
        )  # fmt: skip
        other._holding = self._holding.copy()
        other._processes = self._processes.copy()
        other._parents = self._parents.copy()
        other._closed = self._closed.copy()
        other._kernel_threads = self._kernel_threads.copy()
        other._recent = self._recent.copy()
        other._listed = self._listed.copy()
        other._wanted = self._wanted.copy()
        other._passes = self._passes.copy()
        other._finished = self._finished.copy()
        other._free_ns, other._free_until_ns = self._free_ns, self._free_until_ns
        return other

    def allow(self, span_ns: int) -> None:
        """Let the next search take all the time it needs, without charge, up to so long."""
        self._free_ns = span_ns

    def search(self, inodes: Collection[int], asker: int | None = None) -> set[int]:
        """Continue the search for the owners; return the inodes for which it is not finished.

        `asker` is the user of these sockets.  An inode that is not returned is found, or held by
        none of the processes that were read.
        """
        self.want(dict.fromkeys(inodes, asker))
        self.proceed()
        return {inode for inode in inodes if inode in self._wanted}

    def want(self, askers: Mapping[int, int | None]) -> None:
        """Add sockets to the search: inode to the user whose it is."""
        for inode, asker in askers.items():
            if inode in self._wanted:
                continue
            if len(self._wanted) < self._most_wanted:
                self._wanted[inode] = asker
                self._sought.discard(inode)
            else:
                self._note_finished(inode)

    def is_pending(self, inode: int) -> bool:
        """Return whether the search for this socket is not over."""
        return inode in self._wanted

    @property
    def is_over(self) -> bool:
        """True when nothing is searched for."""
        return not self._wanted

    def stale(self, inodes: Iterable[int]) -> set[int]:
        """Those for which the kept answer is not right any more, or there is none.

        An answer about a process that may not be read stays.
        """
        held = {inode: self._holding.get(inode) for inode in inodes}
        return super().stale(
            inode
            for inode, one in held.items()
            if one is None or not self._is_barred(one.process.pid)
        )

    def finished(self) -> list[int]:
        """Return the sockets whose search is over since the last call, with `notes_finished`.

        Another thread may search meanwhile.
        """
        return [self._finished.pop() for _ in range(len(self._finished))]

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the cached owners of closed sockets, and their searches."""
        super().forget(inodes)
        for inode in inodes:
            self._done(inode)

    def proceed(self) -> None:
        """Go on searching, as long as the pace allows."""
        if self._wanted and self._free_ns:
            self._free_until_ns, self._free_ns = self._clock() + self._free_ns, 0
        while self._wanted and (self._is_free() or self._pace.allows(_ALL, self._clock())):
            if self._pass is None and not self._begin_pass():
                return
            self._piece()

    def _begin_pass(self) -> bool:
        now_ns = self._clock()
        free = self._is_free()
        askers = {
            uid
            for uid in self._wanted.values()
            if free or self._budget.allows(("for", uid), now_ns)
        }
        self._targets = {inode for inode, uid in self._wanted.items() if uid in askers}
        self._askers = frozenset(askers)
        self._spent_ns, self._deferred = {}, set()
        if not self._targets <= self._sought:
            self._sought, self._read_whole = self._targets.copy(), set()
        self._pass = self._search_pass() if self._targets else None
        return self._pass is not None

    def _piece(self) -> None:
        assert self._pass is not None
        begun_ns, free = self._cpu_clock(), self._is_free()
        about = next(self._pass, None)
        took_ns = 0 if free else self._cpu_clock() - begun_ns
        now_ns = self._clock()
        self._pace.charge(_ALL, took_ns, now_ns)
        if about is None:
            self._end_pass()
            return
        spent_ns = self._spent_ns[about] = self._spent_ns.get(about, 0) + took_ns
        if spent_ns > self._free_of_user_ns:
            self._budget.charge(("about", about), took_ns, now_ns)
        else:
            for uid in self._askers:
                self._budget.charge(("for", uid), took_ns // len(self._askers), now_ns)

    def _end_pass(self) -> None:
        self._pass = None
        for inode in self._targets:
            self._passes[inode] = self._passes.get(inode, 0) + 1
            if not self._deferred or self._passes[inode] >= _MOST_PASSES:
                self._done(inode)
        if not self._wanted:  # new ones: those keep the memory of the most that they had
            self._wanted, self._passes = {}, {}
            self._targets, self._sought = set(), set()

    def _done(self, inode: int) -> None:
        self._wanted.pop(inode, None)
        self._passes.pop(inode, None)
        self._note_finished(inode)

    def _note_finished(self, inode: int) -> None:
        if self._notes_finished:
            self._finished.append(inode)

    def _search_pass(self) -> Iterator[int]:
        """One pass; yields the user whose descriptors the last piece has read.

        Who held such sockets before comes first, and then who is new since the last list; both
        mostly spare the other processes.  But no process with many descriptors, which would take
        the time of its user's other ones.
        """
        found_in: list[str] = []
        yield from self._read_small(self._recent, found_in)
        if self._targets:
            pids = {entry for entry in os.listdir(self._proc) if entry.isdigit()}
            for known in (self._closed, self._kernel_threads):
                for pid in known.keys() - pids:
                    del known[pid]
            new, self._listed = pids - self._listed, pids
            if len(new) < len(pids):
                yield from self._read_small(new, found_in)
            if self._targets:
                yield from self._read_all(self._ranked(pids), found_in)
        self._note_recent(found_in)

    def _read_small(self, pids: Iterable[str], found_in: list[str]) -> Iterator[int]:
        """Read those of these processes that have few descriptors."""
        small = [pid for pid in pids if self._folder(pid).size < _LARGE]
        yield from self._read_all(self._ranked(small), found_in, self._free_of_user_ns // 2)

    def _read_all(
        self, candidates: Iterator[_Candidate], found_in: list[str], most_ns: int | None = None
    ) -> Iterator[int]:
        """Read these processes, of each user for at most so long: the others need time, too."""
        ranked: list[_Candidate] = []
        for candidate in candidates:
            ranked.append(candidate)
            if not len(ranked) % _PIECE:
                yield candidate.uid
        ranked.sort()
        for _, pid, uid in ranked:
            if not self._targets:
                return
            if pid in self._read_whole or (most_ns and self._spent_ns.get(uid, 0) > most_ns):
                continue
            before = len(self._targets)
            yield from self._read(pid, uid)
            if len(self._targets) < before:
                found_in.append(pid)

    def _read(self, pid: str, uid: int) -> Iterator[int]:
        """Read the descriptors of one process and take the targets among them."""
        self.reading = int(pid)
        skip = self._resume.pop(uid)[1] if self._resume.get(uid, ("",))[0] == pid else 0
        # The folder of a zombie leader lists none; before Linux 6.2 no folder has a size.
        shown = self._folder(pid).size > 0
        reader = int(pid) if shown else reader_of(int(pid), self._proc)
        for count, (fd, inode) in enumerate(self._links(reader, pid, uid, skip), start=1):
            if inode in self._targets and not self._take(inode, pid, reader, fd):
                return
            if not self._targets:
                return
            if not count % _PIECE:
                yield uid
                if not self._may_read(uid):
                    self._defer(uid, pid, skip + count)
                    return
        if uid not in self._deferred:
            self._read_whole.add(pid)
        yield uid

    def _take(self, inode: int, pid: str, reader: int, fd: str) -> bool:
        if not self._hold(inode, pid, reader, fd):
            return False
        self._targets.discard(inode)
        self._done(inode)
        return True

    def _defer(self, uid: int, pid: str, at: int) -> None:
        self._deferred.add(uid)
        self._resume[uid] = pid, at

    def _may_read(self, uid: int) -> bool:
        if uid in self._deferred:
            return False
        free = self._is_free() or self._spent_ns.get(uid, 0) <= self._free_of_user_ns
        return free or self._budget.allows(("about", uid), self._clock())

    def _ranked(self, pids: Iterable[str]) -> Iterator[_Candidate]:
        """First those who ask, then who has few descriptors.

        Where nothing is new, the small ones were read before: then the large one comes first in
        which the last pass ended.
        """
        is_retry = self._targets <= self._passes.keys()
        for pid in pids:
            uid, size, folder = self._folder(pid)
            if uid < 0 or self._closed.get(pid) == uid:
                continue
            if self._kernel_threads.get(pid) == folder:
                continue
            if not uid and not 0 < size < _LARGE:
                uid = real_user(pid, self._proc)  # a process may hide behind root's number
            if self._is_barred(int(pid)):
                continue
            resumed = is_retry and self._resume.get(uid, ("",))[0] == pid
            rank = (uid not in self._askers, -1 if resumed else size, -int(pid))
            yield _Candidate(rank, pid, uid)

    def _is_free(self) -> bool:
        return self._clock() < self._free_until_ns

    def _may_read_links(self, pid: int) -> bool:
        return not self._is_barred(pid)

    def _is_barred(self, pid: int) -> bool:
        # Of a process in execve(2) the folder may be root's for the moment.
        return not self._barred.is_empty and self._barred.covers(pid, real_user(pid, self._proc))

    def _folder(self, pid: str) -> _Folder:
        try:
            stat = os.stat(f"{self._proc}/{pid}/fd")
        except OSError:
            return _Folder(-1, 0)
        return _Folder(stat.st_uid, stat.st_size, stat.st_ino)

    def _links(
        self, reader: int, pid: str, uid: int, skip: int
    ) -> Iterator[tuple[str, int | None]]:
        """Yield all descriptors, maybe a million of them; `inode` is None for other files."""
        if not self._may_read(uid):
            self._deferred.add(uid)
            return
        count = -1
        try:
            for count, fd in enumerate(self._names(reader)):
                if count >= skip:
                    yield fd, self._link(reader, fd)
            # A host has thousands, each of which costs as much as a process with descriptors.
            if count < 0 and is_kernel_thread(pid, self._proc):
                self._kernel_threads[pid] = self._folder(pid).inode
        except PermissionError:
            self._closed[pid] = self._user(pid)
        except OSError:
            return

    def _names(self, reader: int) -> Iterator[str]:
        with os.scandir(f"{self._proc}/{reader}/fd") as entries:
            for entry in entries:
                yield entry.name
