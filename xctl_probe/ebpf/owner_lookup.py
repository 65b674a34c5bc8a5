"""Owners of connections that were reset before their process used them, through /proc."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

from xctl_probe.events import Event, SocketError
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.socket_owners import Owners

# The part of a core that searching through /proc may take in the long run, and how much at once:
# resets come in bursts.
_SHARE, _AT_ONCE_NS = 0.005, 50_000_000
_ALL = "all"


class OwnerLookup:
    """Attributes such events to the current owner of the socket, within the time share."""

    def __init__(self, owners: Owners | OwnersAside | None = None) -> None:
        self._owners = owners or Owners()
        self._budget = Budget(_SHARE, _AT_ONCE_NS)

    def close(self) -> None:
        """End the reader of /proc.  Safe to call twice."""
        if isinstance(self._owners, OwnersAside):
            self._owners.close()

    def resolve(self, events: Iterable[Event], now_ns: int) -> list[Event]:
        """Return the events with the owners that were found; `now_ns` is CLOCK_MONOTONIC."""
        events = list(events)
        unattributed = [(at, event) for at, event in enumerate(events) if _is_unattributed(event)]
        if unattributed and self._budget.allows(_ALL, now_ns):
            begun_ns = time.monotonic_ns()
            inodes = {event.socket.inode for _, event in unattributed}
            self._owners.begin()
            for uid in {event.socket.uid for _, event in unattributed}:
                of_user = {
                    event.socket.inode for _, event in unattributed if event.socket.uid == uid
                }
                self._owners.search(of_user, uid)
            for at, event in unattributed:
                events[at] = replace(event, owner=self._owners.get(event.socket.inode))
            self._owners.forget(inodes)
            self._budget.charge(_ALL, time.monotonic_ns() - begun_ns, now_ns)
        return events


def _is_unattributed(event: Event) -> TypeGuard[SocketError]:
    # Without an inode no process has it: it is not accepted yet, or closed.
    return isinstance(event, SocketError) and event.owner is None and bool(event.socket.inode)
