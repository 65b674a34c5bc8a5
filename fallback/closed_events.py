"""What happened on connections that have ended, until the next drain: however many they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xctl_probe.events import Fact, Lost

_MOST_EVENTS = 65_536  # what has no room is counted


class Ended:
    """Their stalls and errors, kept as they are."""

    def __init__(self) -> None:
        self._events: list[Fact] = []
        self._lost = 0

    def add(self, facts: Iterable[Fact]) -> None:
        """All that is to be told of a connection but its bytes."""
        for fact in facts:
            if len(self._events) < _MOST_EVENTS:
                self._events.append(fact)
            else:
                self._lost += 1

    def take(self) -> Iterator[Fact]:
        """Everything since the last call."""
        yield from self._events
        if self._lost:
            yield Lost("ended", self._lost)
        self._events.clear()
        self._lost = 0
