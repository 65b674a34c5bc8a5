"""Which process holds each connection: searched when it is met, asked again while it is used."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol

from xctl_probe.linux.socket_owners import Owners


class CachedOwner(Protocol):
    """What remembers how often its owner was searched in vain since it was last found."""

    failed_lookups: int


class OwnerCache:
    """The owners of one look after the other; of other users' sockets only root finds any."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._wanted: set[int] = set()  # inodes
        self._uid = os.geteuid()

    def request(self, inode: int, uid: int | None) -> None:
        """Have it searched for by the next `find`, where this user may see it."""
        if self._may_see(inode, uid):
            self._wanted.add(inode)

    def cancel(self, inode: int) -> None:
        """It is gone: nobody needs to search."""
        self._wanted.discard(inode)

    def resolve(self) -> None:
        """Search for all that are wanted, in one go."""
        if self._wanted:
            self._owners.search(self._wanted)
            self._wanted.clear()

    def revalidate(self, in_use: Iterable[tuple[int, int | None, CachedOwner]]) -> None:
        """Search again where the process that was found holds the socket no more.

        In use are an inode (0 once no process holds it: then the last owner stays), its user,
        and who remembers it.
        """
        asked = {inode: one for inode, uid, one in in_use if self._may_see(inode, uid)}
        unheld = self._owners.stale(asked)
        for inode, one in asked.items():
            if inode not in unheld:
                one.failed_lookups = 0
                continue
            one.failed_lookups += 1
            if one.failed_lookups.bit_count() == 1:  # ever less often: 1, 2, 4, 8 ...
                self._wanted.add(inode)
        self.resolve()

    def _may_see(self, inode: int, uid: int | None) -> bool:
        return bool(inode) and (not self._uid or uid == self._uid)
