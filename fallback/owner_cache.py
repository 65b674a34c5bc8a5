"""Cache of the process that owns each connection, with backoff of failed searches."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from xctl_probe.events import Process


class CachedOwner(Protocol):
    """Connection with a count of failed searches since its owner was last found."""

    failed_lookups: int


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

    def search_for(self, askers: Mapping[int, int | None]) -> set[int]:
        """Go on searching, also for these (inode to user); those that are not found yet."""

    def forget(self, inodes: Collection[int]) -> None:
        """Drop the answers."""


class OwnerCache:
    """Cached owners.  Without root, only sockets of the own user are searched for."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._wanted: dict[int, int | None] = {}  # inode to user
        self._uid = os.geteuid()

    def request(self, inode: int, uid: int | None) -> None:
        """Queue a search by the next `resolve`, where the owner is visible to this user."""
        if self._may_see(inode, uid):
            self._wanted[inode] = uid

    def cancel(self, inode: int) -> None:
        """The socket is gone: its owner is not searched for, the last one stays."""
        self._wanted.pop(inode, None)
        if self.is_pending(inode):
            self._owners.forget([inode])

    def resolve(self) -> None:
        """Search for all that are wanted, and go on with searches that were not over."""
        wanted, self._wanted = self._wanted, {}
        self._owners.search_for(wanted)

    @property
    def is_searching(self) -> bool:
        """True while some search is not over."""
        return self._owners.is_searching

    def is_pending(self, inode: int) -> bool:
        """Return whether a socket has no owner yet that may still be found: it is reported then."""
        return self._owners.is_pending(inode) and self._owners.get(inode) is None

    def revalidate(self, in_use: Iterable[tuple[int, int | None, CachedOwner]]) -> None:
        """Queue a new search for sockets that their cached owner no longer holds.

        `in_use`: inode (0 once no process holds it; the last owner is kept then), uid, connection.
        """
        asked = {
            inode: (uid, one)
            for inode, uid, one in in_use
            if self._may_see(inode, uid) and not self._owners.is_pending(inode)
        }
        unheld = self._owners.stale(asked)
        for inode, (uid, one) in asked.items():
            if inode not in unheld:
                one.failed_lookups = 0
                continue
            one.failed_lookups += 1
            if is_due(one.failed_lookups):
                self._wanted[inode] = uid
        self.resolve()

    def _may_see(self, inode: int, uid: int | None) -> bool:
        return bool(inode) and (not self._uid or uid == self._uid)
