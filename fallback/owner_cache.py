"""Cache of the process that owns each connection, with backoff of failed searches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol

from xctl_probe.linux.socket_owners import Owners


class CachedOwner(Protocol):
    """Connection with a count of failed searches since its owner was last found."""

    failed_lookups: int


class OwnerCache:
    """Cached owners.  Without root, only sockets of the own user are searched for."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._wanted: set[int] = set()  # inodes
        self._uid = os.geteuid()

    def request(self, inode: int, uid: int | None) -> None:
        """Queue a search by the next `resolve`, where the owner is visible to this user."""
        if self._may_see(inode, uid):
            self._wanted.add(inode)

    def cancel(self, inode: int) -> None:
        """Remove the socket from the queue: it is closed."""
        self._wanted.discard(inode)

    def resolve(self) -> None:
        """Search for all queued sockets in one pass over /proc."""
        if self._wanted:
            self._owners.search(self._wanted)
            self._wanted.clear()

    def revalidate(self, in_use: Iterable[tuple[int, int | None, CachedOwner]]) -> None:
        """Queue a new search for sockets that their cached owner no longer holds.

        `in_use`: inode (0 once no process holds it; the last owner is kept then), uid, connection.
        """
        asked = {inode: one for inode, uid, one in in_use if self._may_see(inode, uid)}
        unheld = self._owners.stale(asked)
        for inode, one in asked.items():
            if inode not in unheld:
                one.failed_lookups = 0
                continue
            one.failed_lookups += 1
            if one.failed_lookups.bit_count() == 1:  # backoff: after 1, 2, 4, 8 ... failures
                self._wanted.add(inode)
        self.resolve()

    def _may_see(self, inode: int, uid: int | None) -> bool:
        return bool(inode) and (not self._uid or uid == self._uid)
