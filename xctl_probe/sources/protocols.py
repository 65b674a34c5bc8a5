"""A source whose sockets have their application protocol: `--metrics protocols`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from xctl_probe.ebpf.figures import read_programs
from xctl_probe.ebpf.payload import Payloads
from xctl_probe.events import Batch, DroppedEvents, Event, SocketError, Source, Stall
from xctl_probe.figures import Reading
from xctl_probe.protocols.names import Names, Sample
from xctl_probe.sources.around import Around

_WHERE = "protocols"  # of messages for which the ring buffer had no room
# One reading takes no more CPU time, however many connections come; the ring keeps the rest.
_MOST_READING_NS = 5_000_000
_AT_ONCE = 64  # samples between two reads of the clock


class SourceWithProtocols(Around):
    """The events of `source`, in which each socket has its `app` where that is known.

    The kernel passes the first bytes of each direction of each socket, of any source: sockets are
    the same by their cookie.  Raises SourceUnavailable where the kernel refuses the programs.
    """

    def __init__(self, source: Source, log: Callable[[str], None] | None = None) -> None:
        super().__init__(source)
        self._payloads = Payloads(log)
        self._names = Names()

    def poll(self, now_ns: int) -> int:
        """Read payload, then do the work of the source between two drains."""
        self._read()
        return super().poll(now_ns)

    def drain(self, now_ns: int) -> Batch:
        """Return the events of the source, with names."""
        batch = self._source.drain(now_ns)
        self._read()
        events = [self._named(event) for event in batch.events]
        if unsampled := self._payloads.unsampled():
            events.append(DroppedEvents(_WHERE, unsampled))
        return replace(batch, events=events)

    def figures(self) -> Reading:
        """Read the figures of the source, of these programs, and how many sockets were named."""
        figures = yield from self._source.figures()
        maps, programs = yield from read_programs(self._payloads.handles())
        named = {f"sockets_{name}": count for name, count in sorted(self._names.counts.items())}
        return replace(
            figures,
            maps=figures.maps + maps,
            programs=figures.programs + programs,
            counts={**figures.counts, **named},
        )

    def close(self) -> None:
        """Detach everything.  Safe to call twice."""
        self._payloads.close()
        self._source.close()

    def _read(self) -> None:
        until_ns = time.thread_time_ns() + _MOST_READING_NS
        for number, one in enumerate(self._payloads.read(), start=1):
            # Before it is taken: the ring keeps the record that was requested last.
            if number % _AT_ONCE == 0 and time.thread_time_ns() > until_ns:
                return
            if isinstance(one, Sample):
                self._names.note(one)
            else:
                self._names.closed(one)

    def _named(self, event: Event) -> Event:
        if isinstance(event, (Stall, SocketError)):
            app = self._names.app(event.socket.cookie)
            if app is not None:
                return replace(event, socket=replace(event.socket, app=app))
        return event
