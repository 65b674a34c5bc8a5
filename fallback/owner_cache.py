"""Cache of the process that owns each connection, with backoff of failed searches."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import numpy as np

from xctl_probe.events import Process
from xctl_probe.fallback.codes import Codes
from xctl_probe.fallback.message_arrays import Bools
from xctl_probe.fallback.row import Ints
from xctl_probe.fallback.rows import Rows

_MOST_CHECKED = 512  # of the owners that are known, in an interval: 2 ms


def is_due(failed_lookups: int) -> bool:
    """True where a socket without an owner is searched for again: after 1, 2, 4, 8 ... failures."""
    return failed_lookups.bit_count() == 1


class Owners(Protocol):
    """Finds the processes that hold sockets; a search may take more than one sample."""

    def begin(self) -> None:
        """Start an interval: names are read anew."""

    def get(self, inode: int) -> Process | None:
        """The process last seen to hold this socket."""

    def stale(self, inodes: Iterable[int]) -> set[int]:
        """Those for which that is not right any more."""

    def is_current(self, inode: int) -> bool:
        """Whether it is still right."""

    @property
    def is_searching(self) -> bool:
        """Whether some search is not over."""

    def is_pending(self, inode: int) -> bool:
        """Whether the search for this socket is not over."""

    def finished(self) -> list[int]:
        """Those for which the search is over since the last call."""

    def search_for(self, askers: Mapping[int, int | None]) -> set[int]:
        """Go on searching, also for these (inode to user); those that are not found yet."""

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the answers."""


class OwnerCache:
    """Cached owners of rows.  Without root, only sockets of the own user are searched for."""

    def __init__(self, owners: Owners, rows: Rows) -> None:
        self._owners = owners
        self._rows = rows
        self._wanted: dict[int, int | None] = {}  # inode to user
        self._sought: dict[int, int] = {}  # inode to row, until its search is over
        self._holders: Codes[tuple[int, int]] = Codes()  # pid and start time
        self._uid = os.geteuid()

    def request(self, number: int, inode: int, uid: int | None) -> None:
        """Queue a search by the next `resolve`, where the owner is visible to this user."""
        if inode and (not self._uid or uid == self._uid):
            self._wanted[inode] = uid
            self._sought[inode] = number
            self._rows.array["sought"][number] = True

    def cancel(self, number: int) -> None:
        """The socket is gone: its owner is not searched for, the last one stays."""
        inode = int(self._rows.array["inode"][number])
        self._rows.array["sought"][number] = False
        self._wanted.pop(inode, None)
        self._sought.pop(inode, None)
        if self.is_pending(inode):
            self._owners.forget([inode])

    def resolve(self) -> None:
        """Search for all that are wanted, and go on with searches that were not over."""
        wanted, self._wanted = self._wanted, {}
        self._owners.search_for(wanted)
        for inode in self._owners.finished():
            number = self._sought.pop(inode, None)
            if number is not None:
                self._rows.array["sought"][number] = False
                self._note(number, inode)
        if not self._sought:
            self._sought = {}  # it may have been large

    def is_pending(self, inode: int) -> bool:
        """Return whether a socket has no owner yet that may still be found: it is reported then."""
        return self._owners.is_pending(inode) and self._owners.get(inode) is None

    def pending(self) -> Ints:
        """Return the rows without an owner yet that may still be found."""
        rows = self._rows.array
        return np.flatnonzero(rows["sought"] & (rows["holder"] == 0))

    def owner(self, number: int) -> Process | None:
        """Return the process that was last seen to hold the socket of a row."""
        return self._owners.get(int(self._rows.array["inode"][number]))

    def has_owner(self, number: int, owner: Process | None) -> bool:
        """Return whether the row is among those of this owner."""
        return int(self._rows.array["holder"][number]) == self._code(owner)

    def revalidate(self, in_use: Ints, first: Ints, now: int) -> None:
        """Queue a new search for sockets that their cached owner no longer holds.

        `in_use`: rows that matter in this interval, of which `first` are certainly checked.  Of the
        others at most as many are checked as is cheap: those that moved most, and those that were
        not checked for longest.  `now` is the number of the sample.
        """
        rows = self._rows.array
        in_use = self._visible(in_use)
        is_held = rows["holder"][in_use] != 0
        held = self._chosen(in_use[is_held], self._visible(first))
        is_held |= rows["sought"][in_use]  # the search goes on
        unheld = in_use[~is_held]
        asked = {int(rows["queues"][n, 1]) >> 32: n for n in [*held.tolist(), *self._due(unheld)]}
        asked = {inode: n for inode, n in asked.items() if not self._owners.is_pending(inode)}
        stale = self._owners.stale(asked)
        for inode, number in asked.items():
            if inode not in stale:
                rows["failed_lookups"][number] = 0
                self._note(number, inode)
                continue
            if rows["holder"][number]:  # else it is counted already
                rows["failed_lookups"][number] += 1
            if is_due(int(rows["failed_lookups"][number])):
                self.request(number, inode, int(rows["uid"][number]))
        rows["checked"][held] = now
        self.resolve()

    def trim(self) -> None:
        """Let go of processes that no row has."""
        self._holders.trim(self._rows.array, "holder")

    def _visible(self, numbers: Ints) -> Ints:
        """Those whose socket is open in a process that this user may read."""
        rows = self._rows.array
        visible: Bools = rows["queues"][numbers, 1] >> 32 != 0
        if self._uid:
            visible &= rows["uid"][numbers] == self._uid
        found: Ints = numbers[visible]
        return found

    def _chosen(self, held: Ints, first: Ints) -> Ints:
        if len(held) <= _MOST_CHECKED:
            return held
        rows = self._rows.array
        moved = rows["sent_payload"][held] - rows["reported_sent"][held]
        moved += rows["received_payload"][held] - rows["reported_received"][held]
        half = _MOST_CHECKED // 2
        is_first = np.zeros(len(rows), np.bool_)
        is_first[first] = True
        chosen: Bools = is_first[held]
        chosen[np.argpartition(-moved, half)[:half]] = True
        chosen[np.argpartition(rows["checked"][held], half)[:half]] = True
        return held[chosen]

    def _due(self, unheld: Ints) -> list[int]:
        """Count a failed search of each; return those that are searched for again."""
        rows = self._rows.array
        rows["failed_lookups"][unheld] += 1
        counts = rows["failed_lookups"][unheld]
        due: list[int] = unheld[counts & (counts - 1) == 0].tolist()
        return due

    def _note(self, number: int, inode: int) -> None:
        self._rows.array["holder"][number] = self._code(self._owners.get(inode))

    def _code(self, owner: Process | None) -> int:
        return self._holders.of((owner.pid, owner.start_ticks) if owner else None)
