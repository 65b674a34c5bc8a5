"""What connections that have ended moved, until the next drain: little, however many they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xctl_probe.facts import Fact, Lost, Process, Traffic

_MOST_EVENTS = 65_536  # stalls and errors; what has no room is counted


class Ended:
    """Traffic is added up by process and interface; stalls and errors are kept as they are."""

    def __init__(self) -> None:
        self._traffic: dict[tuple[Process | None, str | None], tuple[int, int]] = {}
        self._events: list[Fact] = []
        self._lost = 0

    def add(self, facts: Iterable[Fact]) -> None:
        """All that is to be told of a connection."""
        for fact in facts:
            if isinstance(fact, Traffic):
                key = (fact.owner, fact.interface)
                sent, received = self._traffic.get(key, (0, 0))
                self._traffic[key] = sent + fact.sent_bytes, received + fact.received_bytes
            elif len(self._events) < _MOST_EVENTS:
                self._events.append(fact)
            else:
                self._lost += 1

    def take(self) -> Iterator[Fact]:
        """Everything since the last call."""
        for (owner, interface), (sent, received) in self._traffic.items():
            yield Traffic(owner, interface, sent, received)
        yield from self._events
        if self._lost:
            yield Lost("ended", self._lost)
        self._traffic.clear()
        self._events.clear()
        self._lost = 0
