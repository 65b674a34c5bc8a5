"""Budget of CPU time for reads of /proc, shared fairly by user.

A user who keeps the probe busy uses up only the account of that user.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

SHARE = 0.01  # of a core, for all accounts together; default of --proc-budget
_AHEAD_NS = 100_000_000  # debt that one account may have
_MOST_ACCOUNTS = 1_024
_PAY_NS = 10_000_000  # least time between two updates of the accounts


def scaled(least_ns: int, share: float, most_ns: int) -> int:
    """Return a time that grows with the share of a core, from that of the default on."""
    return max(least_ns, min(round(least_ns * share / SHARE), most_ns))


class Budget:
    """Accounts of CPU time, in ns.  An account without debt takes no memory.

    `share` of a core is distributed equally over the accounts with a debt.  An account may be used
    until its debt is `ahead_ns`.  Times are of CLOCK_MONOTONIC.  Several threads may use it: a
    search that is late continues beside the next one.
    """

    def __init__(self, share: float = SHARE, ahead_ns: int = _AHEAD_NS) -> None:
        self.share = share
        self._ahead_ns = ahead_ns
        self._owed_ns: dict[Hashable, float] = {}
        self._paid_ns = 0
        self._lock = threading.Lock()

    def allows(self, account: Hashable, now_ns: int) -> bool:
        """True while this account may be used."""
        with self._lock:
            self._pay(now_ns)
            return self._owed_ns.get(account, 0) < self._ahead_ns

    def charge(self, account: Hashable, spent_ns: int, now_ns: int) -> None:
        """Add `spent_ns` to the debt of the account."""
        with self._lock:
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
            each_ns = since_ns * self.share / len(self._owed_ns)
            self._owed_ns = {who: o - each_ns for who, o in self._owed_ns.items() if o > each_ns}
