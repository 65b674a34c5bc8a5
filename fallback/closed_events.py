"""What happened on connections that have ended, until the next drain: however many they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xctl_probe.events import DroppedEvents, Event

_MOST_EVENTS = 65_536  # what has no room is counted


class ClosedEvents:
    """Their stalls and errors, kept as they are."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lost = 0

    def add(self, events: Iterable[Event]) -> None:
        """All that is to be told of a connection but its bytes."""
        for event in events:
            if len(self._events) < _MOST_EVENTS:
                self._events.append(event)
            else:
                self._lost += 1

    def take(self) -> Iterator[Event]:
        """Everything since the last call."""
        yield from self._events
        if self._lost:
            yield DroppedEvents("closed_queue_full", self._lost)
        self._events.clear()
        self._lost = 0
