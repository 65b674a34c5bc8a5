"""Owners that the kernel could not name: of connections reset before their process touched them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeGuard

from xctl_probe.facts import Fact, SocketError
from xctl_probe.owners import Owners

_SHARE = 200  # the part of the time that searching through /proc may take


class LateOwners:
    """Names them by who holds the socket now, as often as is affordable."""

    def __init__(self, owners: Owners | None = None) -> None:
        self._owners = owners or Owners()
        self._again_ns = 0

    def named(self, facts: Iterable[Fact], now_ns: int) -> list[Fact]:
        """The same facts, with the owners that were found; CLOCK_MONOTONIC ns."""
        facts = list(facts)
        nameless = [(at, fact) for at, fact in enumerate(facts) if _is_nameless(fact)]
        if nameless and now_ns >= self._again_ns:
            begun_ns = time.monotonic_ns()
            inodes = {fact.socket.inode for _, fact in nameless}
            self._owners.begin()
            self._owners.search(inodes)
            for at, fact in nameless:
                facts[at] = replace(fact, owner=self._owners.of(fact.socket.inode))
            self._owners.forget(inodes)
            self._again_ns = now_ns + (time.monotonic_ns() - begun_ns) * _SHARE
        return facts


def _is_nameless(fact: Fact) -> TypeGuard[SocketError]:
    # Without an inode no process has it: nobody has accepted it, or it is closed.
    return isinstance(fact, SocketError) and fact.owner is None and bool(fact.socket.inode)
