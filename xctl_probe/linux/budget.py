"""What reading on behalf of others may cost, shared fairly by user.

Whoever keeps the probe busy uses up an account of his own; the next one's is untouched.
"""

from __future__ import annotations

from collections.abc import Hashable

_SHARE = 0.01  # of a core, for all accounts together
_AHEAD_NS = 100_000_000  # that one account may use up at once
_MOST_ACCOUNTS = 1_024
_PAY_NS = 10_000_000  # accounts are brought up to date no more often than this


class Budget:
    """Accounts of time; CLOCK_MONOTONIC ns.  An account that owes nothing takes no memory.

    `share` of a core is paid to all that owe, in equal parts; an account may be used until it
    owes `ahead_ns`.
    """

    def __init__(self, share: float = _SHARE, ahead_ns: int = _AHEAD_NS) -> None:
        self._share = share
        self._ahead_ns = ahead_ns
        self._owed_ns: dict[Hashable, float] = {}
        self._paid_ns = 0

    def allows(self, account: Hashable, now_ns: int) -> bool:
        """True while this account may be used."""
        self._pay(now_ns)
        return self._owed_ns.get(account, 0) < self._ahead_ns

    def charge(self, account: Hashable, spent_ns: int, now_ns: int) -> None:
        """Note what was spent on its behalf."""
        self._pay(now_ns)
        self._owed_ns[account] = self._owed_ns.get(account, 0) + spent_ns
        if len(self._owed_ns) > _MOST_ACCOUNTS:
            del self._owed_ns[min(self._owed_ns, key=self._owed_ns.__getitem__)]

    def _pay(self, now_ns: int) -> None:
        since_ns = now_ns - self._paid_ns
        if since_ns < _PAY_NS:
            return
        self._paid_ns = now_ns
        if self._owed_ns:
            each_ns = since_ns * self._share / len(self._owed_ns)
            self._owed_ns = {who: o - each_ns for who, o in self._owed_ns.items() if o > each_ns}
