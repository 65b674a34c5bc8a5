"""A source of counters on a thread of its own, where a read may block for a minute.

A device whose firmware does not answer blocks its reader until the driver gives up (60 s for a
command of mlx5).  Stalls of other processes are to be reported meanwhile.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from xctl_probe.events import Event
from xctl_probe.sources.base import CounterSource

_WAIT_S = 0.1  # many times what a read takes


class Aside:
    """Collects on a thread, and waits `wait_s` for it at most.

    What comes later is among the events of a later call.  `present`: without it there is no
    thread, and `open_source` is not called.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], CounterSource],
        present: Callable[[], bool],
        wait_s: float = _WAIT_S,
    ) -> None:
        self.name = name
        self._open_source = open_source
        self._present = present
        self._wait_s = wait_s
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._asked = False
        self._events: list[Event] = []
        self._error: Exception | None = None
        # The source counts from here; where threads or memory ran out, from a later call.
        with suppress(OSError, MemoryError):
            list(self.collect())

    def collect(self) -> Iterator[Event]:
        """The events that are there by now.

        Raises what the source raises, and OSError EAGAIN where no thread can be started.
        """
        if self._thread is None:
            if not self._present():
                return
            self._start()
        with self._changed:
            self._asked = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._asked, self._wait_s)
            events, self._events = self._events, []
            error, self._error = self._error, None
        if error is not None:
            raise error
        yield from events

    def _start(self) -> None:
        # A daemon: it does not keep the probe from leaving while a read blocks.
        thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        self._thread = thread

    def _work(self) -> None:
        source: CounterSource | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
            events: list[Event] = []
            error: Exception | None = None
            try:
                if source is None:
                    source = self._open_source()
                else:
                    events = list(source.collect())
            except Exception as raised:
                error = raised
            with self._changed:
                self._events += events
                self._error = error
                self._asked = False
                self._changed.notify_all()
