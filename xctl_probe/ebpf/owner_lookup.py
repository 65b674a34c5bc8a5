"""Owners that the kernel could not name: of connections reset before their process touched them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

from xctl_probe.events import Fact, SocketError
from xctl_probe.linux.socket_owners import Owners

_SHARE = 200  # the part of the time that searching through /proc may take, in the long run
_AHEAD_NS = 10_000_000_000  # of which so much may be used up at once: resets come in bursts


class LateOwners:
    """Names them by who holds the socket now, as often as is affordable."""

    def __init__(self, owners: Owners | None = None) -> None:
        self._owners = owners or Owners()
        self._paid_ns = 0  # until when the searches so far have used up their part

    def named(self, facts: Iterable[Fact], now_ns: int) -> list[Fact]:
        """The same facts, with the owners that were found; CLOCK_MONOTONIC ns."""
        facts = list(facts)
        nameless = [(at, fact) for at, fact in enumerate(facts) if _is_nameless(fact)]
        if nameless and self._paid_ns - now_ns < _AHEAD_NS:
            begun_ns = time.monotonic_ns()
            inodes = {fact.socket.inode for _, fact in nameless}
            self._owners.begin()
            for uid in {fact.socket.uid for _, fact in nameless}:
                of_user = {fact.socket.inode for _, fact in nameless if fact.socket.uid == uid}
                self._owners.search(of_user, uid)
            for at, fact in nameless:
                facts[at] = replace(fact, owner=self._owners.of(fact.socket.inode))
            self._owners.forget(inodes)
            took_ns = time.monotonic_ns() - begun_ns
            self._paid_ns = max(self._paid_ns, now_ns) + took_ns * _SHARE
        return facts


def _is_nameless(fact: Fact) -> TypeGuard[SocketError]:
    # Without an inode no process has it: nobody has accepted it, or it is closed.
    return isinstance(fact, SocketError) and fact.owner is None and bool(fact.socket.inode)
