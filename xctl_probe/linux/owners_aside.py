"""The holders of sockets, read by a thread that can be left behind.

A link in /proc/<pid>/fd may not be readable for as long as that process is in execve(2), which it
can extend at will: call_proc_get_link() in fs/proc/base.c waits for exec_update_lock, until
SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from xctl_probe.events import Process
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.procfs import real_user
from xctl_probe.linux.worker import Worker

_WAIT_NS = 100_000_000  # for one answer
_FIRST_NS = 1_000_000_000  # that the first search may take


class OwnersAside:
    """As `Search`; answers stay while they cannot be checked."""

    def __init__(self, search: Search, barred: Barred) -> None:
        self._search = search
        self._barred = barred
        self._worker = Worker()
        self._wait_ns = _WAIT_NS
        self._late: list[Callable[[Search], None]] = []  # what waits until the thread is free
        self._queued: set[int] = set()  # inodes to search for among these
        self._current: dict[int, bool] = {}  # inodes that were checked in this sample
        self._checked: set[int] = set()  # and in the sample before

    def close(self) -> None:
        """Let the thread end.  Safe to call twice."""
        self._worker.close()

    def allow_first_search(self) -> None:
        """Let the next search take a second: at the start all sockets are new."""
        self._wait_ns = _FIRST_NS + _WAIT_NS
        self._search.allow(_FIRST_NS)

    def begin(self) -> None:
        """Start an interval: names are read anew."""
        self._soon(Search.begin)

    def begin_sample(self) -> None:
        """Start a sample: answers are checked anew."""
        self._checked = set(self._current)
        self._current.clear()

    def process(self, pid: int) -> Process | None:
        """The process with this pid, None when it is gone."""
        return self._search.process(pid)

    def get(self, inode: int) -> Process | None:
        """The process last seen to hold this socket, alive or not; None if none was."""
        return self._search.get(inode)

    @property
    def refused(self) -> bool:
        """True where the descriptors of some process may not be read, or not now."""
        return self._search.refused or not self._barred.is_empty

    @property
    def is_searching(self) -> bool:
        """True while some search is not over."""
        return bool(self._queued) or not self._search.is_over

    def is_pending(self, inode: int) -> bool:
        """Return whether the search for this socket is not over."""
        return inode in self._queued or self._search.is_pending(inode)

    def is_current(self, inode: int) -> bool:
        """True when the kept answer for this inode is still right, as far as it can be checked.

        One check serves a sample.  Those of the sample before are checked together.
        """
        if inode not in self._current:
            inodes = self._checked - self._current.keys() | {inode}
            wrong = self.stale(inodes)
            self._current |= {one: one not in wrong for one in inodes}
        return self._current[inode]

    def stale(self, inodes: Iterable[int]) -> set[int]:
        """Those for which the kept answer is not right any more, or there is none.

        An answer that cannot be checked now stays.
        """
        inodes = list(inodes)
        wrong: list[set[int]] = []
        if self._run(lambda search: wrong.append(search.stale(inodes))):
            return wrong[0]
        return {inode for inode in inodes if self.get(inode) is None}

    def search(self, inodes: Collection[int], asker: int | None = None) -> set[int]:
        """Search for the holders, as `search_for`; `asker` is the user whose sockets these are."""
        return self.search_for(dict.fromkeys(inodes, asker))

    def search_for(self, askers: Mapping[int, int | None]) -> set[int]:
        """Go on looking for holders, also of these: inode to the user whose socket it is.

        Returns those of them for which the search is not over.
        """
        if askers:
            self._queued.update(askers)
            self._late.append(partial(self._want, askers=dict(askers)))
        if self.is_searching:
            self._run(Search.proceed)
            self._wait_ns = _WAIT_NS
        return {inode for inode in askers if self.is_pending(inode)}

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the answers for sockets that are gone, and search for them no more."""
        if inodes:
            self._queued.difference_update(inodes)
            self._soon(partial(Search.forget, inodes=list(inodes)))

    def _want(self, search: Search, askers: Mapping[int, int | None]) -> None:
        search.want({inode: uid for inode, uid in askers.items() if inode in self._queued})
        self._queued.difference_update(askers)

    def _soon(self, change: Callable[[Search], None]) -> None:
        """Make a change that reads nothing, now or when the thread is free."""
        self._late.append(change)
        if self._is_free():
            self._catch_up()

    def _catch_up(self) -> None:
        late, self._late = self._late, []
        for change in late:
            change(self._search)

    def _run(self, job: Callable[[Search], object]) -> bool:
        """Have the thread do it; False where that is not over in time, or not begun."""
        if not self._is_free():
            return False
        self._catch_up()
        return self._worker.run(partial(job, self._search), self._wait_ns)

    def _is_free(self) -> bool:
        """True when the thread has nothing to do; leaves one behind that hangs."""
        if self._worker.is_free:
            return True
        if not self._worker.hangs:
            return False
        pid = self._search.reading
        self._barred.add(pid, real_user(pid, Path("/proc")))
        self._worker.abandon()
        self._search = self._search.successor()
        return True
