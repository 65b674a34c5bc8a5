"""Bytes of sockets since their last report, added up by owner and interface."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xctl_probe.events import TrafficDelta
from xctl_probe.fallback.codes import Codes
from xctl_probe.fallback.owner_cache import OwnerCache
from xctl_probe.fallback.row import Ints
from xctl_probe.fallback.rows import Rows
from xctl_probe.traffic_totals import TrafficTotals

_MOST_BYTES = 1 << 48  # of one socket at once: sums of them stay in 63 bits


class ByteTotals:
    """The bytes of an interval.  `names` has the interfaces of the rows."""

    def __init__(self, rows: Rows, owners: OwnerCache, names: Codes[str]) -> None:
        self._rows = rows
        self._owner_cache = owners
        self._names = names
        self._totals = TrafficTotals()

    def take(self) -> Iterator[TrafficDelta]:
        """Yield the totals, and begin anew."""
        yield from self._totals.take()

    def add(self, numbers: Ints) -> None:
        """Add what these rows moved since they were last added."""
        rows = self._rows.array
        sent = self._since_report(numbers, "sent_payload", "reported_sent")
        received = self._since_report(numbers, "received_payload", "reported_received")
        moved = np.flatnonzero((sent > 0) | (received > 0))
        if not len(moved):
            return
        who, where = rows["holder"][numbers[moved]], rows["interface"][numbers[moved]]
        key = who.astype(np.int64) << 32 | where
        order = np.argsort(key, kind="stable")
        key, moved = key[order], moved[order]
        begins = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        sums = zip(
            begins.tolist(),
            [*begins[1:].tolist(), len(moved)],
            np.add.reduceat(sent[moved], begins).tolist(),
            np.add.reduceat(received[moved], begins).tolist(),
            strict=True,
        )
        for begin, end, went, came in sums:
            number = int(numbers[moved[begin]])
            name = self._names.value(int(rows["interface"][number]))
            owner = self._owner_cache.owner(number)
            if self._owner_cache.has_owner(number, owner):
                self._totals.add(owner, name, went, came)
                continue
            # The owner of one was found anew, for a peer: so perhaps that of others.
            for index in moved[begin:end].tolist():
                owner = self._owner_cache.owner(int(numbers[index]))
                self._totals.add(owner, name, int(sent[index]), int(received[index]))

    def _since_report(self, numbers: Ints, counter: str, reported: str) -> Ints:
        """Return by how much a counter has grown, and note that it is reported."""
        rows = self._rows.array
        more: Ints = np.clip(rows[counter][numbers] - rows[reported][numbers], 0, _MOST_BYTES)
        rows[reported][numbers] += more
        return more
