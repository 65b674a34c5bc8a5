"""The pipeline: polls and drains the source, and passes the records of each interval to a sink.

stdout (`stream`) and the screen of `top` are such sinks.  The loop sleeps until the next task is
due.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from xctl_probe.aggregate import LEAST_PERCENT, Filter, aggregate
from xctl_probe.config.settings import Settings
from xctl_probe.errors import is_shortage
from xctl_probe.events import Batch, DroppedEvents, Event, Source, TrafficDelta
from xctl_probe.exporters.base import Receiver
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    MemoryRecord,
    Record,
    is_probable,
)
from xctl_probe.exporters.stdout import ReaderGone, Writer
from xctl_probe.linux.rdma_ports import has_devices
from xctl_probe.metrics import Metric
from xctl_probe.signals import stop_signals
from xctl_probe.sources.aside import Aside
from xctl_probe.sources.base import CounterSource
from xctl_probe.sources.interfaces import Interfaces
from xctl_probe.sources.job_connections import JobConnections
from xctl_probe.sources.job_processes import JobProcesses
from xctl_probe.status.intervals import Intervals, skipped

if TYPE_CHECKING:  # most runs do without
    from xctl_probe.sources.process_loads import ProcessLoads
    from xctl_probe.status.service import Service

_NS_PER_MS = 1_000_000
_LAST_FLUSH_MS = 1000
_LONGEST_END_S = 1.7  # from a signal to the exit
# Read at import, so that the exit of the parent during the opening of a source is noticed.
_PARENT_PID = os.getppid()
# Least interval between two polls of a source with events: many small events cost one poll.
_MIN_POLL_INTERVAL_NS = 10_000_000
_RETRY_NS = 100_000_000  # after a poll that lacked a descriptor or memory


def epoch_ms() -> int:
    """Return the current time for records: ms since the Unix epoch."""
    return time.time_ns() // _NS_PER_MS


class Sink(Protocol):
    """Receiver of the records of a run; it can also wake or stop the run."""

    @property
    def ended(self) -> bool:
        """True when the run is to stop; checked after each wake-up."""

    def put(self, records: Iterable[Record], now_ns: int) -> None:
        """Queue the records of one interval; `now_ns` is the time of the drain (monotonic)."""

    def flush(self) -> None:
        """Write or draw pending output, without blocking."""

    def descriptors(self) -> Iterable[tuple[int, int]]:
        """Return the descriptors to wait for, each with its poll(2) events."""

    def retry_ns(self) -> int | None:
        """Return the ns until `flush` is due at the latest, None: at the next wake-up."""

    def wake(self, fd: int, events: int) -> None:
        """Handle a descriptor that is ready."""


def next_due(due_ns: int, now_ns: int, interval_ns: int) -> int:
    """Return when the interval is over that follows one that was due, and is drained now.

    After a delay, as of a probe that was stopped, missed intervals are skipped, and the next one
    has at least half of its length: in a short one, few bytes make a high rate.
    """
    return due_ns + (skipped(now_ns - due_ns, interval_ns) + 1) * interval_ns


class Loop:
    """Polls, drains and aggregates for a sink, by the intervals and the filter of the settings."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        sink: Sink,
        intervals: Intervals | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        wanted = settings.wanted
        self._counter_sources = tuple(_counter_sources(wanted))
        share = settings.proc_share
        self._jobs = JobProcesses(
            wanted,
            states=settings.process_state,
            share=share,
            connections=JobConnections(share) if settings.connections else None,
        )
        self._loads = _process_loads(wanted) if Metric.PROCESS in wanted.metrics else None
        self._drained_ns = time.monotonic_ns()
        self._intervals = intervals
        self._uncounted_ns: int | None = None  # since when, where the last drain failed
        self._missed = 0  # polls since the last drain for which descriptors or memory ran out

    def close(self) -> None:
        """Close what the loop has opened; the source is not part of that.  Safe to call twice."""
        self._jobs.close()

    def run(self) -> None:
        """Run until the sink stops it or the duration is over."""
        interval_ns = self._settings.interval_ns
        next_poll_ns, next_drain_ns, listen_ns = 0, self._drained_ns + interval_ns, 0
        duration_ns = self._settings.duration_ns
        end_ns = None if duration_ns is None else self._drained_ns + duration_ns
        while not self._sink.ended:
            now_ns = time.monotonic_ns()
            if end_ns is not None and now_ns >= end_ns:
                return
            if now_ns >= next_drain_ns:
                self.drain()
                if self._intervals is not None:
                    self._intervals.note(next_drain_ns, now_ns, time.monotonic_ns())
                next_drain_ns = next_due(next_drain_ns, now_ns, interval_ns)
            elif now_ns >= next_poll_ns:
                next_poll_ns = self._poll(now_ns)
                listen_ns = now_ns + _MIN_POLL_INTERVAL_NS
            self._sink.flush()
            wake_ns = min(next_poll_ns, next_drain_ns, end_ns or next_drain_ns)
            if self._wait(wake_ns, listen=now_ns >= listen_ns):
                next_poll_ns = 0

    def drain(self) -> None:
        """Drain the source and pass the records to the sink."""
        now_ns = time.monotonic_ns()
        batch = self._batch(now_ns)
        counted = [event for one in self._counter_sources for event in _counted(one)]
        events = [*_with_time(batch), *counted]
        loads = self._loads.collect(events, now_ns) if self._loads else ()
        events += self._jobs.collect(events, now_ns)
        events += loads
        elapsed_ns = batch.taken_ns - self._drained_ns
        self._drained_ns = batch.taken_ns
        records = aggregate(
            events, self._settings.wanted, elapsed_ns, epoch_ms(), self._jobs.placement,
            has_bytes=batch.has_bytes,
        )  # fmt: skip
        self._sink.put(records, now_ns)

    def _poll(self, now_ns: int) -> int:
        """Poll the source, and return when to do it again; a poll without resources is missed."""
        try:
            return self._source.poll(now_ns)
        except Exception as error:
            if not is_shortage(error):
                raise
            self._missed += 1
            return now_ns + _RETRY_NS

    def _batch(self, now_ns: int) -> Batch:
        """Drain the source; where descriptors or memory ran out, also return `DroppedEvents`."""
        missed, self._missed = self._missed, 0
        try:
            batch = self._source.drain(now_ns)
        except Exception as error:
            if not is_shortage(error):
                raise
            missed, batch = missed + 1, Batch(now_ns, has_bytes=False)
            self._uncounted_ns = self._uncounted_ns or self._drained_ns
        else:
            since_ns, self._uncounted_ns = self._uncounted_ns, None
            batch = replace(batch, since_ns=batch.since_ns or since_ns)
        if missed:
            batch.events.append(DroppedEvents("source", missed))
        return batch

    def _wait(self, wake_ns: int, *, listen: bool) -> bool:
        """Sleep until the next task is due.  True where the source is ready (with `listen`)."""
        poll = select.poll()
        for fd, events in self._sink.descriptors():
            poll.register(fd, events)
        now_ns = time.monotonic_ns()
        retry_ns = self._sink.retry_ns()
        if retry_ns is not None:
            wake_ns = min(wake_ns, now_ns + retry_ns)
        source_fd = self._source.fileno()
        if source_fd is not None and listen:
            poll.register(source_fd, select.POLLIN)
        elif source_fd is not None:
            wake_ns = min(wake_ns, now_ns + _MIN_POLL_INTERVAL_NS)
        source_ready = False
        for fd, events in poll.poll(max(wake_ns - now_ns, 0) / _NS_PER_MS):
            if fd == source_fd:
                source_ready = True
            else:
                self._sink.wake(fd, events)
        return source_ready


def _with_time(batch: Batch) -> list[Event]:
    """Return the events; the first ones are of a longer time, as the source was opened before."""
    if batch.since_ns is None:
        return batch.events
    elapsed_ns = batch.taken_ns - batch.since_ns
    return [
        replace(event, elapsed_ns=elapsed_ns) if isinstance(event, TrafficDelta) else event
        for event in batch.events
    ]


def _counter_sources(wanted: Filter) -> Iterator[CounterSource]:
    """Open the counters that the metrics need."""
    if wanted.metrics & {Metric.BANDWIDTH, Metric.ERRORS, Metric.PACKETS}:
        yield Interfaces(wanted.interfaces, loopback=wanted.loopback)
    if Metric.RDMA in wanted.metrics:
        yield Aside("rdma", lambda: _rdma(wanted.interfaces), has_devices)


def _rdma(interfaces: frozenset[str]) -> CounterSource:
    from xctl_probe.sources.rdma import Rdma  # noqa: PLC0415 - most hosts do without

    return Rdma(interfaces)


def _process_loads(wanted: Filter) -> ProcessLoads:
    from xctl_probe.sources.process_loads import ProcessLoads  # noqa: PLC0415 - off by default

    return ProcessLoads(wanted)


def _counted(counters: CounterSource) -> list[Event]:
    """What they have; where descriptors or memory ran out, that something is missing."""
    try:
        return list(counters.collect())
    except (OSError, MemoryError) as error:
        if not is_shortage(error):
            raise
        return [DroppedEvents(counters.name, 1)]


def stream(
    settings: Settings,
    source: Source,
    writer: Writer,
    stdout: int,
    receivers: Sequence[Receiver] = (),
    service: Service | None = None,
) -> None:
    """Write records to stdout until a signal, the exit of reader or parent, or the duration.

    `receivers` get the same records; `service` answers `status` in between.
    """
    least_mbps = settings.wanted.min_mbps
    if any(one.takes_all for one in receivers):
        wanted = replace(settings.wanted, min_mbps=0.0, least_percent=0.0)
        settings = replace(settings, wanted=wanted)
    try:
        with stop_signals(_LONGEST_END_S) as stop:
            sink = _Stdout(
                writer, stdout, stop, receivers, service, least_mbps,
                probable=settings.report_probable,
            )  # fmt: skip
            intervals = service.monitor.intervals if service else None
            loop = Loop(settings, source, sink, intervals)
            with closing(loop):
                if service is not None:
                    service.monitor.ready()
                loop.run()
                if service is not None:
                    service.close()  # no client waits for the last interval
                loop.drain()
                writer.flush(_LAST_FLUSH_MS)
    except ReaderGone:
        return


class _Stdout:
    """Sink of the stream.  A signal, a gone reader and a gone parent stop the run.

    What is only probable is written with `probable`; the monitor has it always.
    """

    def __init__(
        self,
        writer: Writer,
        stdout: int,
        stop: socket.socket,
        receivers: Sequence[Receiver] = (),
        service: Service | None = None,
        least_mbps: float = 0.0,
        *,
        probable: bool = False,
    ) -> None:
        self._writer = writer
        self._stdout = stdout
        self._stop = stop
        self._receivers = receivers
        self._least_mbps = least_mbps
        self._probable = probable
        self._known_dropped = 0
        self._monitor = service.monitor if service else None
        self._server = service.server if service else None
        self._stopped = False
        self._read_by_parent = _is_pipe(stdout)

    @property
    def ended(self) -> bool:
        # The probe outlives a consumer that dies, and another process may have inherited the
        # read end of the pipe and keep it open.
        return self._stopped or (self._read_by_parent and os.getppid() != _PARENT_PID)

    def put(self, records: Iterable[Record], now_ns: int) -> None:
        if self._receivers:
            records = self._received(list(records))
        if self._monitor is not None:
            records = self._monitor.seen(records, now_ns)
        for record in records:
            if self._probable or not is_probable(record):
                self._writer.put(record)

    def _received(self, records: list[Record]) -> list[Record]:
        """Pass the records to the receivers; return those for stdout.

        What a receiver dropped before is among them.
        """
        ts_ms = records[0].ts_ms if records else epoch_ms()
        lost = [
            ErrorRecord(ts_ms, DroppedEvents(one.where, dropped))
            for one in self._receivers
            if (dropped := one.dropped())
        ]
        known = [one for one in records if self._probable or not is_probable(one)]
        every = [*lost, *self._dropped_by_stdout(ts_ms), *known]
        written = [*lost, *(record for record in known if not self._is_small(record))]
        for one in self._receivers:
            one.put(every if one.takes_all else written)
        return [*lost, *(record for record in records if not self._is_small(record))]

    def _dropped_by_stdout(self, ts_ms: int) -> Iterator[Record]:
        """What stdout dropped since the last interval; the writer itself reports it there."""
        dropped = self._writer.dropped
        if dropped > self._known_dropped:
            yield ErrorRecord(ts_ms, DroppedEvents("stdout", dropped - self._known_dropped))
            self._known_dropped = dropped

    def _is_small(self, record: Record) -> bool:
        """True for the bandwidth of a process below `--min-bw`, and for its load below 1 %."""
        if isinstance(record, (CpuRecord, MemoryRecord)):
            return record.percent < LEAST_PERCENT
        return (
            isinstance(record, BandwidthRecord)
            and record.owner is not None
            and record.mbps < self._least_mbps
        )

    def flush(self) -> None:
        self._writer.flush()
        if self._server is not None:
            self._server.step()

    def descriptors(self) -> Iterator[tuple[int, int]]:
        yield self._stop.fileno(), select.POLLIN
        # Registered even with nothing to write: a reader that leaves shows as an error.  After a
        # write that took nothing, POLLOUT is no evidence: the next attempt is due soon.
        writes = self._writer.pending and not self._writer.refused
        yield self._stdout, select.POLLOUT if writes else 0
        if self._server is not None:
            yield from self._server.descriptors()

    def retry_ns(self) -> int | None:
        due_ns = self._server.retry_ns() if self._server is not None else None
        if not (self._writer.pending and self._writer.refused):
            return due_ns
        return _MIN_POLL_INTERVAL_NS if due_ns is None else min(due_ns, _MIN_POLL_INTERVAL_NS)

    def wake(self, fd: int, events: int) -> None:
        if fd == self._stop.fileno():
            self._stopped = True
        elif self._server is not None and self._server.wake(fd, events):
            return
        elif events & ~select.POLLOUT:
            raise ReaderGone


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
