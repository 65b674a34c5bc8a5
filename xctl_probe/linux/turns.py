"""Turns of the processes that share an account of the budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

_MOST_KEPT = 4_096  # of one account


class Turns:
    """Who was refused first is served first, by account.

    Without turns, an account that is mostly in debt would serve who happens to ask first in each
    sample, and no other.  Who does not ask in a sample loses its place.
    """

    def __init__(self) -> None:
        self._sample = 0
        self._refused: dict[Hashable, OrderedDict[Hashable, int]] = {}
        self._served: set[tuple[Hashable, Hashable]] = set()

    def begin(self) -> None:
        """Start a sample."""
        self._sample += 1
        self._served.clear()
        for account, queue in list(self._refused.items()):
            for who, asked in list(queue.items()):
                if asked < self._sample - 1:
                    del queue[who]
            if not queue:
                del self._refused[account]

    def take(self, account: Hashable, who: Hashable, *, allowed: bool) -> bool:
        """Return whether `who` is served now; `allowed`: the account may be used.

        Who was served in this sample is served again: most of the cost was that of the first time.
        """
        if (account, who) in self._served:
            return True
        queue = self._refused.get(account)
        if not allowed or (queue and next(iter(queue)) != who):
            self.refuse(account, who)
            return False
        if queue:
            del queue[who]
        self._served.add((account, who))
        return True

    def refuse(self, account: Hashable, who: Hashable) -> None:
        """Note that `who` was not served in this sample; its place is that of the first time."""
        queue = self._refused.setdefault(account, OrderedDict())
        if who in queue or len(queue) < _MOST_KEPT:
            queue[who] = self._sample

    def awaits(self, account: Hashable, who: Hashable) -> bool:
        """Return whether `who` was refused in this sample, and has a place."""
        queue = self._refused.get(account)
        return queue is not None and queue.get(who) == self._sample
