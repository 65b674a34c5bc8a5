"""Events of closed connections, until the next interval, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xctl_probe.events import DroppedEvents, Event

_MOST_EVENTS = 65_536  # those without room are counted


class ClosedEvents:
    """Queue of the stalls and errors of closed connections."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lost = 0

    def add(self, events: Iterable[Event]) -> None:
        """Queue the events of one closed connection.  Its bytes are added up elsewhere."""
        for event in events:
            if len(self._events) < _MOST_EVENTS:
                self._events.append(event)
            else:
                self._lost += 1

    def take(self) -> Iterator[Event]:
        """Return the events since the last call, and empty the queue."""
        yield from self._events
        if self._lost:
            yield DroppedEvents("closed_queue_full", self._lost)
        self._events.clear()
        self._lost = 0
