"""Owners of sockets, read by a thread that can be abandoned.

A read of a link in /proc/<pid>/fd may block as long as that process is in execve(2), which it can
extend: call_proc_get_link() in fs/proc/base.c waits for exec_update_lock, until SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from xctl_probe.events import Process
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import scaled
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.procfs import real_user
from xctl_probe.linux.worker import Worker

_WAIT_NS, _LONGEST_WAIT_NS = 100_000_000, 400_000_000  # for one answer
_FIRST_NS = 1_000_000_000  # for the first search


class OwnersAside:
    """As `Search`; a cached owner is kept while it cannot be checked."""

    def __init__(self, search: Search, barred: Barred) -> None:
        self._search = search
        self._barred = barred
        self._worker = Worker()
        self._most_wait_ns = scaled(_WAIT_NS, search.share, _LONGEST_WAIT_NS)
        self._wait_ns = self._most_wait_ns
        self._late: list[Callable[[Search], None]] = []  # changes until the thread is free
        self._queued: set[int] = set()  # inodes to search for among these
        self._current: dict[int, bool] = {}  # inodes checked in this sample
        self._checked: set[int] = set()  # and in the sample before

    def close(self) -> None:
        """Stop the thread.  Safe to call twice."""
        self._worker.close()

    def allow_first_search(self) -> None:
        """Allow a second for the next search: at the start all sockets are new."""
        self._wait_ns = _FIRST_NS + _WAIT_NS
        self._search.allow(_FIRST_NS)

    def begin(self) -> None:
        """Start an interval: names are read again."""
        self._soon(Search.begin)

    def begin_sample(self) -> None:
        """Start a sample: cached owners are checked again."""
        self._checked = set(self._current)
        self._current.clear()

    def process(self, pid: int) -> Process | None:
        """Return the process with this pid, None when it is gone."""
        return self._search.process(pid)

    def get(self, inode: int) -> Process | None:
        """Return the last known owner of this socket, alive or not, else None."""
        return self._search.get(inode)

    @property
    def refused(self) -> bool:
        """True where some process may not be read, or not now."""
        return self._search.refused or not self._barred.is_empty

    @property
    def is_searching(self) -> bool:
        """True while some search is not finished."""
        return bool(self._queued) or not self._search.is_over

    def is_pending(self, inode: int) -> bool:
        """Return whether the search for this socket is not finished."""
        return inode in self._queued or self._search.is_pending(inode)

    def is_current(self, inode: int) -> bool:
        """True when the cached owner of this inode still holds it, as far as it can be checked.

        One check serves a sample.  Those of the sample before are checked together.
        """
        if inode not in self._current:
            inodes = self._checked - self._current.keys() | {inode}
            wrong = self.stale(inodes)
            self._current |= {one: one not in wrong for one in inodes}
        return self._current[inode]

    def stale(self, inodes: Iterable[int]) -> set[int]:
        """Return the inodes without a cached owner that still holds them.

        An owner that cannot be checked now is kept.
        """
        inodes = list(inodes)
        wrong: list[set[int]] = []
        if self._run(lambda search: wrong.append(search.stale(inodes))):
            return wrong[0]
        return {inode for inode in inodes if self.get(inode) is None}

    def finished(self) -> list[int]:
        """Return the sockets whose search is over since the last call."""
        return self._search.finished()

    def search(self, inodes: Collection[int], asker: int | None = None) -> set[int]:
        """Search for the owners, as `search_for`; `asker` is the user of these sockets."""
        return self.search_for(dict.fromkeys(inodes, asker))

    def search_for(self, askers: Mapping[int, int | None]) -> set[int]:
        """Continue the search for owners, also of these: user by inode.

        Returns those of them for which the search is not over.
        """
        if askers:
            self._queued.update(askers)
            self._late.append(partial(self._want, askers=dict(askers)))
        if self.is_searching:
            self._run(Search.proceed)
            self._wait_ns = self._most_wait_ns
        return {inode for inode in askers if self.is_pending(inode)}

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the cached owners of closed sockets, and their searches."""
        if inodes:
            self._queued.difference_update(inodes)
            self._soon(partial(Search.forget, inodes=list(inodes)))

    def _want(self, search: Search, askers: Mapping[int, int | None]) -> None:
        search.want({inode: uid for inode, uid in askers.items() if inode in self._queued})
        self._queued.difference_update(askers)

    def _soon(self, change: Callable[[Search], None]) -> None:
        """Apply a change that reads nothing, now or when the thread is free."""
        self._late.append(change)
        if self._is_free():
            self._catch_up()

    def _catch_up(self) -> None:
        late, self._late = self._late, []
        for change in late:
            change(self._search)

    def _run(self, job: Callable[[Search], object]) -> bool:
        """Run the job in the thread; False where it is not finished in time, or not begun."""
        if not self._is_free():
            return False
        self._catch_up()
        return self._worker.run(partial(job, self._search), self._wait_ns)

    def _is_free(self) -> bool:
        """True when the thread is free; abandons one that hangs."""
        if self._worker.is_free:
            return True
        if not self._worker.hangs:
            return False
        pid = self._search.reading
        self._barred.add(pid, real_user(pid, Path("/proc")))
        self._worker.abandon()
        self._search = self._search.successor()
        return True
