"""Bytes by process and interface."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.events import Process, TrafficDelta

_Key = tuple[int, int, str | None]  # pid, start and interface
_Total = tuple[Process | None, int, int, int]


class TrafficTotals:
    """Totals since the last `take`: their number does not depend on the number of sockets.

    A process that renames itself has one total, with its last name.
    """

    def __init__(self) -> None:
        self._sums: dict[_Key, _Total] = {}

    def add(
        self,
        owner: Process | None,
        interface: str | None,
        sent: int,
        received: int,
        elapsed_ns: int = 0,
    ) -> None:
        """Add these bytes; of several times, the longest counts."""
        key = (owner.pid, owner.start_ticks, interface) if owner else (0, 0, interface)
        before = self._sums.get(key)
        if before is not None:
            sent, received = sent + before[1], received + before[2]
            elapsed_ns = max(elapsed_ns, before[3])
        self._sums[key] = owner, sent, received, elapsed_ns

    def take(self) -> Iterator[TrafficDelta]:
        """Yield all totals, and reset them."""
        sums, self._sums = self._sums, {}
        for (_, _, interface), (owner, sent, received, elapsed_ns) in sums.items():
            yield TrafficDelta(owner, interface, sent, received, elapsed_ns)
