"""Processes that held a reader of /proc up, and are not read again for a while."""

from __future__ import annotations

import os
import time

_BARRED_NS = 60_000_000_000  # doubled with each time
_MOST_DOUBLED = 10
_MOST_KEPT = 4_096

_Key = tuple[str, int]


class Barred:
    """Users and processes that are not read: shared by all readers of one source.

    A user is barred as a whole, because the next process would do the same.  Of root, and of the
    user that the probe runs as, only the one process is barred: neither is an attacker, and all
    the others are what the probe is there for.
    """

    def __init__(self) -> None:
        self._until: dict[_Key, tuple[int, int]] = {}  # CLOCK_MONOTONIC ns, and how often
        self._spared = {-1, 0, os.geteuid()}

    def add(self, pid: int, uid: int) -> None:
        """Bar the process that held a reader up, or its user."""
        key = ("pid", pid) if uid in self._spared else ("uid", uid)
        _, times = self._until.get(key, (0, 0))
        if len(self._until) >= _MOST_KEPT:
            self._until.clear()
        until_ns = time.monotonic_ns() + (_BARRED_NS << min(times, _MOST_DOUBLED))
        self._until[key] = until_ns, times + 1

    @property
    def is_empty(self) -> bool:
        """True when no one was ever barred."""
        return not self._until

    def covers(self, pid: int, uid: int) -> bool:
        """Return whether this process of this user is not to be read now."""
        if self.is_empty:
            return False
        now_ns = time.monotonic_ns()
        keys = (("uid", uid), ("pid", pid))
        return any(now_ns < self._until.get(key, (0, 0))[0] for key in keys)
