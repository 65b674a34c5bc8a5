"""Events that wait for the receiver, in bounded number."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from xctl_probe.otlp.events import Event

MOST = 8_192  # about 8 MiB
_MOST_SENT = 512  # at a time: about 300 KB


class Backlog:
    """A queue between two threads.  Where it is full, the oldest events are dropped."""

    def __init__(self, most: int = MOST) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=most)
        self._most = most

    def __len__(self) -> int:
        return len(self._events)

    def put(self, events: Iterable[Event]) -> int:
        """Append events; return how many were dropped."""
        new = list(events)
        with self._lock:
            dropped = max(len(self._events) + len(new) - self._most, 0)
            self._events.extend(new)
        return dropped

    def take(self) -> list[Event]:
        """Remove and return the oldest events, for one request."""
        with self._lock:
            count = min(len(self._events), _MOST_SENT)
            return [self._events.popleft() for _ in range(count)]

    def clear(self) -> int:
        """Remove all events; return how many."""
        with self._lock:
            count = len(self._events)
            self._events.clear()
        return count
