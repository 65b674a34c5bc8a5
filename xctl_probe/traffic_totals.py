"""Bytes by process and interface."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.events import Process, TrafficDelta


class TrafficTotals:
    """Totals since the last `take`: their number does not depend on the number of sockets."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Process | None, str | None], list[int]] = {}

    def add(self, owner: Process | None, interface: str | None, sent: int, received: int) -> None:
        """Add these bytes."""
        total = self._sums.get((owner, interface))
        if total is None:
            self._sums[owner, interface] = [sent, received]
        else:
            total[0] += sent
            total[1] += received

    def take(self) -> Iterator[TrafficDelta]:
        """Yield all totals, and reset them."""
        sums, self._sums = self._sums, {}
        for (owner, interface), (sent, received) in sums.items():
            yield TrafficDelta(owner, interface, sent, received)
