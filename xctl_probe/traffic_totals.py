"""Bytes added up by process and interface: nobody asks for those of one socket."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.events import Process, TrafficDelta


class TrafficTotals:
    """What was moved since the last `take`: a few facts, however many sockets there are."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Process | None, str | None], list[int]] = {}

    def add(self, owner: Process | None, interface: str | None, sent: int, received: int) -> None:
        """Count these bytes."""
        total = self._sums.get((owner, interface))
        if total is None:
            self._sums[owner, interface] = [sent, received]
        else:
            total[0] += sent
            total[1] += received

    def take(self) -> Iterator[TrafficDelta]:
        """All of it, once."""
        sums, self._sums = self._sums, {}
        for (owner, interface), (sent, received) in sums.items():
            yield TrafficDelta(owner, interface, sent, received)
