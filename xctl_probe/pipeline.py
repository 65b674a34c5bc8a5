"""The stream: drains the source once an interval and writes what comes of it.

The one module that knows all stages.  It never sleeps longer than until the next thing to
do, and leaves when it is told to, when its time is up, or when nobody is there to read.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from enum import Enum, auto

from xctl_probe.aggregate import summarize
from xctl_probe.config import Settings
from xctl_probe.errors import is_shortage
from xctl_probe.events import Batch, Fact, Lost, Source
from xctl_probe.exporters.stdout import ReaderGone, Writer
from xctl_probe.signals import stop_signals
from xctl_probe.sources.interfaces import Interfaces

_NS_PER_MS = 1_000_000
_LAST_FLUSH_MS = 1000
_LONGEST_END_S = 1.7  # from a signal to the end
# Read at once: a parent that dies while the source is being opened is noticed, too.
_PARENT_PID = os.getppid()
# A source that has news is not asked more often than this: many small facts cost one look.
_BREATH_NS = 10_000_000


def epoch_ms() -> int:
    """Now, as the records have it: ms since the Unix epoch."""
    return time.time_ns() // _NS_PER_MS


def stream(settings: Settings, source: Source, writer: Writer, stdout: int) -> None:
    """Run until the end.  Returns normally for every end that is not an error."""
    try:
        with stop_signals(_LONGEST_END_S) as stop:
            loop = _Loop(settings, source, writer, stdout, stop)
            loop.run()
            loop.drain()
            writer.flush(_LAST_FLUSH_MS)
    except ReaderGone:
        return


class _Woken(Enum):
    TIME = auto()
    NEWS = auto()  # the source has something
    STOP = auto()


class _Loop:
    def __init__(
        self,
        settings: Settings,
        source: Source,
        writer: Writer,
        stdout: int,
        stop: socket.socket,
    ) -> None:
        self._settings = settings
        self._source = source
        self._writer = writer
        self._stdout = stdout
        self._stop = stop
        wanted = settings.wanted
        self._interfaces = Interfaces(wanted.interfaces, loopback=wanted.loopback)
        self._read_by_parent = _is_pipe(stdout)
        self._drained_ns = time.monotonic_ns()

    def run(self) -> None:
        """Poll, drain and write until there is a reason to leave."""
        interval_ns = self._settings.interval_ns
        next_poll_ns, next_drain_ns, listen_ns = 0, self._drained_ns + interval_ns, 0
        duration_ns = self._settings.duration_ns
        end_ns = None if duration_ns is None else self._drained_ns + duration_ns
        while True:
            now_ns = time.monotonic_ns()
            if end_ns is not None and now_ns >= end_ns:
                return
            if now_ns >= next_drain_ns:
                self.drain()
                # An interval that was missed (a stopped process) is not made up for.
                next_drain_ns = max(next_drain_ns + interval_ns, now_ns)
            elif now_ns >= next_poll_ns:
                next_poll_ns = self._source.poll(now_ns)
                listen_ns = now_ns + _BREATH_NS
            self._writer.flush()
            wake_ns = min(next_poll_ns, next_drain_ns, end_ns or next_drain_ns)
            why = self._wait(wake_ns, listen=now_ns >= listen_ns)
            if why is _Woken.STOP or self._orphaned():
                return
            if why is _Woken.NEWS:
                next_poll_ns = 0

    def drain(self) -> None:
        """Turn what the source has into records, and hand them to the writer."""
        now_ns = time.monotonic_ns()
        batch = self._batch(now_ns)
        facts = [*batch.facts, *self._counters()]
        elapsed_ns = batch.taken_ns - self._drained_ns
        self._drained_ns = batch.taken_ns
        for record in summarize(facts, self._settings.wanted, elapsed_ns, epoch_ms()):
            self._writer.put(record)

    def _batch(self, now_ns: int) -> Batch:
        """What the source has; where descriptors or memory ran out, that something is missing."""
        try:
            return self._source.drain(now_ns)
        except Exception as error:
            if not is_shortage(error):
                raise
            return Batch(now_ns, [Lost("source", 1)])

    def _counters(self) -> list[Fact]:
        try:
            return list(self._interfaces.collect())
        except (OSError, MemoryError) as error:
            if not is_shortage(error):
                raise
            return [Lost("interfaces", 1)]

    def _wait(self, wake_ns: int, *, listen: bool) -> _Woken:
        """Sleep until there is something to do; with `listen`, news of the source count."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        # Registered even with nothing to write: a reader that leaves shows as an error.  And where
        # a write took nothing, POLLOUT says nothing: the next attempt is a breath away.
        held_up = self._writer.pending and self._writer.refused
        writes = self._writer.pending and not held_up
        poll.register(self._stdout, select.POLLOUT if writes else 0)
        now_ns = time.monotonic_ns()
        if held_up:
            wake_ns = min(wake_ns, now_ns + _BREATH_NS)
        source_fd = self._source.fileno()
        if source_fd is not None and listen:
            poll.register(source_fd, select.POLLIN)
        elif source_fd is not None:
            wake_ns = min(wake_ns, now_ns + _BREATH_NS)
        woken = _Woken.TIME
        for fd, events in poll.poll(max(wake_ns - now_ns, 0) / _NS_PER_MS):
            if fd == self._stop.fileno():
                return _Woken.STOP
            if fd == source_fd:
                woken = _Woken.NEWS
            if fd == self._stdout and events & ~select.POLLOUT:
                raise ReaderGone
        return woken

    def _orphaned(self) -> bool:
        # A consumer that dies does not take its child along, and whoever inherited the
        # other end of the pipe may keep it open for ever.
        return self._read_by_parent and os.getppid() != _PARENT_PID


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
