"""The kernel source: reads the counts and events of the kernel programs once an interval."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from xctl_probe.ebpf import closers
from xctl_probe.ebpf.abi import (
    ENDPOINT,
    ENDPOINT_KEY,
    PROCESS_KEY,
    PROCESS_TRAFFIC,
    RECORD,
    Kind,
    LostWhere,
    RawEvent,
    StallDirection,
    decode,
    is_sound,
    socket_of,
)
from xctl_probe.ebpf.asked_processes import AskedProcesses
from xctl_probe.ebpf.endpoints import request_history_of
from xctl_probe.ebpf.failures import Failures
from xctl_probe.ebpf.figures import read_figures
from xctl_probe.ebpf.ifindex_names import IfindexNames
from xctl_probe.ebpf.loader import MapSizes, load
from xctl_probe.ebpf.owner_lookup import OwnerLookup
from xctl_probe.ebpf.process_totals import ProcessTotals
from xctl_probe.ebpf.programs import LoadedPrograms
from xctl_probe.ebpf.reported_stall import ReportedStall
from xctl_probe.ebpf.sorting import Sorted, late_cookies, records_at, sort
from xctl_probe.ebpf.stall_policy import DIRECTIONS, seen_wait
from xctl_probe.ebpf.stall_tracker import StallTracker
from xctl_probe.events import (
    Batch,
    Cause,
    DroppedEvents,
    ErrorKind,
    Event,
    SocketError,
    Stall,
)
from xctl_probe.fair import Room, choose
from xctl_probe.figures import Reading
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import SHARE, Budget
from xctl_probe.linux.heap import give_back_memory
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.metrics import DEFAULT, Metric
from xctl_probe.stalls.causes import ZeroWindowMemory
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.request_history import RequestHistory

# Iterations of all sockets between two drains take at most this part (1/n) of the time.
_SAMPLE_SHARE = 50

_MOST_PENDING = 16_384  # events between two drains, of all users
_MOST_WAITS = 1_024  # that one sample decides about, of all users
_MUCH_BYTES = 1 << 20  # an iteration with more output leaves free memory
_NEVER_NS = 1 << 62

_ERRORS = {
    Kind.RETRANSMIT: ErrorKind.RETRANSMIT,
    Kind.REFUSED: ErrorKind.REFUSED,
    Kind.TIMEOUT: ErrorKind.TIMEOUT,
    Kind.RESET: ErrorKind.RESET,
    Kind.PROHIBITED: ErrorKind.PROHIBITED,
    Kind.NO_PORT: ErrorKind.NO_PORT,
    Kind.ABORTED: ErrorKind.ABORTED,
}
_OF_STALLS = frozenset((Kind.STALL, Kind.ONGOING, Kind.CLOSING, Kind.CLOSED))


class RunningSource:
    """Source of events of loaded kernel programs, by libbpf or bcc."""

    name = "ebpf"

    def __init__(
        self,
        running: LoadedPrograms,
        stall_ns: int,
        ignored_peers: IgnoredPeers | None = None,
        proc_share: float = SHARE,
        reply_ns: int = 0,
        *,
        metrics: frozenset[Metric] = DEFAULT,
    ) -> None:
        self._stall_ns, self._reply_ns = stall_ns, max(reply_ns, stall_ns)
        self._sees_errors = Metric.ERRORS in metrics
        self._running = running
        self.attach = running.name
        self.hooks = running.hooks
        programs = running.programs
        self._processes = [
            ProcessTotals(programs.map(name, PROCESS_KEY.size, PROCESS_TRAFFIC.size))
            for name in ("processes", "crowded_processes")
        ]
        self._endpoints = programs.map("endpoints", ENDPOINT_KEY.size, ENDPOINT.size)
        self._asked = AskedProcesses(programs.map("asked_processes", 4, 1))
        self._windows = ZeroWindowMemory()
        budget, barred = Budget(proc_share), Barred()
        self._tracker = StallTracker(
            stall_ns, ignored_peers or IgnoredPeers(), self._endpoint, self._cause, budget, barred,
            reply_ns=reply_ns,
        )  # fmt: skip
        self._closers = closers.Closers(stall_ns)
        self._interfaces = IfindexNames()
        self._owner_lookup = OwnerLookup(OwnersAside(Search(budget, barred=barred), barred))
        self._dropped = [0] * len(LostWhere)
        self._missed_runs = 0
        self._invalid = 0  # invalid raw events
        self._overflowed: Counter[int | None] = (
            Counter()
        )  # events dropped for lack of space, by uid
        self._pending: list[Event] = []
        self._room: Room[int] = Room(_MOST_PENDING)
        self._failures = Failures()
        self._counting_ns: int | None = time.monotonic_ns()  # since then, until the first drain
        self._turn = 0  # of the waits, where there are too many to decide about
        self._next_sample_ns = 0
        # Of stalls since the last drain: inode -> namespace, and a process there.
        self._places: dict[int, tuple[int, int]] = {}

    @property
    def description(self) -> str:
        """Text for the start line: what the source observes."""
        return f"{self.attach}: TCP and UDP by process, exact{self._refused}"

    @property
    def _refused(self) -> str:
        """Return what is less exact, and why; empty where nothing is."""
        refused = self.hooks.refused
        return f", but the kernel refuses probes on {', '.join(refused)}" if refused else ""

    def fileno(self) -> int | None:
        """Return the descriptor of the ring buffer."""
        return self._running.queue.fd

    def poll(self, now_ns: int) -> int:
        """Read the ring buffer, and sample the current waits; `now_ns` is CLOCK_MONOTONIC.

        The samples are evidence for stalls that are over before the next drain.
        """
        iterator = self._running.waiters_iter
        if iterator is None:
            self._keep(self._from_ring(now_ns))
            return now_ns + _NEVER_NS
        if now_ns < self._next_sample_ns:
            self._keep(self._from_ring(now_ns))
        else:
            begun_ns = time.thread_time_ns()  # without the time in which helpers are waited for
            chunk = iterator.run()
            found = self._sorted(chunk)
            waiting, left_out = self._chosen(chunk, found)
            late = late_cookies(chunk, found, self._reply_ns)
            # A wait that ended before this sample is decided by the sample before.
            self._keep(self._from_ring(now_ns))
            self._windows.note(map(seen_wait, waiting))
            self._tracker.observe(waiting, late, whole=not left_out)
            took_ns = time.thread_time_ns() - begun_ns
            self._next_sample_ns = now_ns + max(self._stall_ns, took_ns * _SAMPLE_SHARE)
        return self._next_sample_ns

    def drain(self, now_ns: int) -> Batch:
        """Return the events since the last drain, and the ongoing stalls."""
        self._interfaces.forget()
        self._tracker.answers.ask(self._asked)
        chunk = self._running.collect_iter.run()  # before anything is taken: it may lack memory
        events, self._pending = self._pending, []
        self._room = Room(_MOST_PENDING)
        # After the sockets, whose bytes the iteration has added.
        for processes in self._processes:
            events.extend(processes.traffic(self._interfaces))
        events.extend(self._from_ring(now_ns))
        found = self._sorted(chunk)
        self._tracker.answers.note(records_at(chunk, found.received))
        for record in self._sound(records_at(chunk, found.others)):
            events.extend(self._events(record))
        if self._running.waiters_iter is not None:
            events = self._with_stalls(events, chunk, found, now_ns)
        events.extend(self._failures.sums(_ERRORS, self._interfaces.name))
        events.extend(self._dropped_events())
        much = len(chunk) > _MUCH_BYTES
        del chunk, found
        if much:
            give_back_memory()
        since_ns, self._counting_ns = self._counting_ns, None
        return Batch(now_ns, events, since_ns)

    def _with_stalls(
        self, events: list[Event], chunk: bytes, found: Sorted, now_ns: int
    ) -> list[Event]:
        """Return the events, the stalls of this drain among them, with the peers of all stalls."""
        records, left_out = self._chosen(chunk, found)
        self._windows.note(map(seen_wait, records))
        late = late_cookies(chunk, found, self._reply_ns)
        stalls = self._tracker.drain(records, late, now_ns, whole=not left_out)
        events.extend(map(self._stall, stalls))
        events.extend(map(self._closing, self._closers.drain(time.monotonic_ns())))
        lost = (DroppedEvents("waits", count, uid) for uid, count in left_out.items())
        return [*self._with_peers(events), *lost]

    def figures(self) -> Reading:
        """Read the figures of the programs and maps, piece by piece."""
        counts = {"events_until_drain": len(self._pending), **self._tracker.counts()}
        return read_figures(self._running, counts)

    def close(self) -> None:
        """Detach everything.  Safe to call twice."""
        self._tracker.close()
        self._owner_lookup.close()
        self._running.queue.close()
        self._running.programs.close()

    def _keep(self, events: Iterable[Event]) -> None:
        """Queue events until the next drain, which may be an hour away."""
        for event in events:
            uid = event.socket.uid if isinstance(event, (Stall, SocketError)) else None
            if self._room.take(uid, 1):
                self._pending.append(event)
            else:
                self._overflowed[uid] += event.count if isinstance(event, SocketError) else 1

    def _from_ring(self, now_ns: int) -> list[Event]:
        records = (r for body in self._running.queue.records() for r in self._decoded(body))
        return self._owner_lookup.resolve((f for r in records for f in self._events(r)), now_ns)

    def _decoded(self, chunk: bytes) -> Iterator[RawEvent]:
        """Yield the raw events of a chunk; invalid ones are counted as dropped."""
        self._invalid += len(chunk) % RECORD.size > 0
        return self._sound(decode(chunk))

    def _sorted(self, chunk: bytes) -> Sorted:
        self._invalid += len(chunk) % RECORD.size > 0
        return sort(chunk)

    def _sound(self, records: Iterable[RawEvent]) -> Iterator[RawEvent]:
        for record in records:
            if is_sound(record):
                yield record
            else:
                self._invalid += 1

    def _chosen(self, chunk: bytes, found: Sorted) -> tuple[list[RawEvent], dict[int, int]]:
        """Return a bounded number of waits to decide about, and by uid how many are left out."""
        self._turn += 1
        kept, left_out = choose(found.waits, _MOST_WAITS, _MOST_WAITS, self._turn)
        return list(self._sound(records_at(chunk, kept))), left_out

    def _events(self, record: RawEvent) -> Iterator[Event]:
        if not self._is_measured(record.kind):
            return
        if record.kind == Kind.STALL:
            stall = self._tracker.on_end(record)
            if stall is not None:
                yield self._stall(stall)
        elif record.kind == Kind.CLOSING:
            self._closers.begin(record)
        elif record.kind == Kind.CLOSED:
            ended = self._closers.end(record)
            if ended is not None:
                yield self._closing(ended)
        elif record.kind != Kind.ONGOING:  # those are decided together
            yield from self._failure(record, Kind(record.kind))

    def _is_measured(self, kind: int) -> bool:
        """False for an event of a metric that is off, which a program for others emits, too."""
        if kind in _OF_STALLS:
            return self._running.waiters_iter is not None
        return self._sees_errors

    def _failure(self, record: RawEvent, kind: Kind) -> Iterator[SocketError]:
        if self._failures.has_room(record, kind, record.occurrences):
            socket = socket_of(record, self._interfaces.name(record.ifindex, record.netns))
            yield SocketError(
                record.owner, socket, _ERRORS[kind], record.occurrences,
                duplicates=record.duplicates,
            )  # fmt: skip

    def _with_peers(self, events: list[Event]) -> list[Event]:
        """Return the events, in which the stalls have their peers."""
        places, self._places = self._places, {}
        stalls = [event for event in events if isinstance(event, Stall)]
        named = iter(self._tracker.with_peers(stalls, places))
        return [next(named) if isinstance(event, Stall) else event for event in events]

    def _stall(self, stall: ReportedStall) -> Stall:
        record = stall.record
        if len(self._places) < _MOST_PENDING:
            self._places[record.inode] = record.netns, record.pid
        interface = self._interfaces.name(record.ifindex, record.netns)
        return _stall(record, interface, stall)

    def _closing(self, record: RawEvent) -> Stall:
        return self._stall(ReportedStall(record, closers.cause(record)))

    def _cause(self, record: RawEvent) -> Cause | None:
        return self._windows.cause(seen_wait(record))

    def _endpoint(self, record: RawEvent) -> RequestHistory:
        """Return the kernel's request/reply history of the same owner and peer."""
        return request_history_of(record, self._endpoints.lookup)

    def _dropped_events(self) -> Iterator[DroppedEvents]:
        totals = self._running.programs.per_cpu_sums("lost", len(LostWhere))
        # Newer kernels count these in another counter.
        missed = max(self._running.programs.missed_runs(), totals[LostWhere.RETURN])
        totals[LostWhere.RETURN] = 0
        for where, total, before in zip(LostWhere, totals, self._dropped, strict=True):
            if total > before:
                yield DroppedEvents(where.name.lower(), total - before)
        self._dropped = totals
        if missed > self._missed_runs:
            yield DroppedEvents("missed_probe_runs", missed - self._missed_runs)
        self._missed_runs = max(missed, self._missed_runs)
        if self._invalid:
            yield DroppedEvents("invalid_events", self._invalid)
        for uid, count in (self._overflowed + self._tracker.held.left_out).items():
            yield DroppedEvents("event_queue_full", count, uid)
        if self._closers.unkept:
            yield DroppedEvents("closing", self._closers.unkept)
            self._closers.unkept = 0
        self._invalid = 0
        self._overflowed.clear()
        self._tracker.held.left_out.clear()


class KernelSource(RunningSource):
    """Kernel source of the compiled objects; needs CAP_BPF and CAP_PERFMON, and kernel BTF.

    `stall_ns` is the stall length, `reply_ns` that of reply waits where it is longer; `attach` is
    the attach variant; `ignored_peers` has the peers whose reply waits are excluded; `proc_share`
    is the part of a core for reads of /proc about owners and peers; `log` receives the messages of
    libbpf; programs that serve none of `metrics` are not loaded.  Raises SourceUnavailable with the
    reason and the remedy.
    """

    def __init__(
        self,
        *,
        stall_ns: int = 100_000_000,
        reply_ns: int = 0,
        attach: str = "auto",
        ignored_peers: IgnoredPeers | None = None,
        proc_share: float = SHARE,
        sizes: MapSizes | None = None,
        log: Callable[[str], None] | None = None,
        metrics: frozenset[Metric] = DEFAULT,
    ) -> None:
        running = load(attach, stall_ns, sizes or MapSizes(), log, metrics)
        super().__init__(running, stall_ns, ignored_peers, proc_share, reply_ns, metrics=metrics)


def _stall(record: RawEvent, interface: str | None, stall: ReportedStall) -> Stall:
    return Stall(
        owner=record.owner,
        socket=socket_of(record, interface),
        direction=DIRECTIONS[StallDirection(record.direction)],
        duration_ns=record.span_ns,
        ongoing=record.kind == Kind.ONGOING,
        cause=stall.cause,
        tid=record.tid or None,
        probable=stall.probable,
    )
