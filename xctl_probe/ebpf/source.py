"""The kernel source: programs count and note in the kernel, this reads them once an interval."""

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
    Record,
    StallDirection,
    decode,
    is_sound,
    socket_of,
)
from xctl_probe.ebpf.endpoints import dialogue_of
from xctl_probe.ebpf.failures import Failures
from xctl_probe.ebpf.heap import give_back_memory
from xctl_probe.ebpf.ifindex_names import Interfaces
from xctl_probe.ebpf.loader import Sizes, load
from xctl_probe.ebpf.owner_lookup import LateOwners
from xctl_probe.ebpf.process_totals import Processes
from xctl_probe.ebpf.programs import Running
from xctl_probe.ebpf.stall_policy import DIRECTIONS, seen_wait
from xctl_probe.ebpf.stall_tracker import Told, Waits
from xctl_probe.ebpf.traffic import Sorted, records_at, split
from xctl_probe.events import (
    Batch,
    Cause,
    ErrorKind,
    Fact,
    Lost,
    SocketError,
    Stall,
    Traffic,
)
from xctl_probe.fair import Room, choose
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.owner_search import Search
from xctl_probe.stalls.causes import ClosedWindows
from xctl_probe.stalls.ignored_peers import Patient
from xctl_probe.stalls.request_history import Dialogue

# Looking at all sockets between two drains may take this part of the time, not more.
_LOOK_SHARE = 50

_MOST_PENDING = 16_384  # facts between two drains, of all users
_MOST_WAITS = 1_024  # that are decided about at one look, of all users
_MUCH_BYTES = 1 << 20  # a walk that gave more has left memory behind

_ERRORS = {
    Kind.RETRANSMIT: ErrorKind.RETRANSMIT,
    Kind.REFUSED: ErrorKind.REFUSED,
    Kind.TIMEOUT: ErrorKind.TIMEOUT,
    Kind.RESET: ErrorKind.RESET,
    Kind.PROHIBITED: ErrorKind.PROHIBITED,
    Kind.NO_PORT: ErrorKind.NO_PORT,
    Kind.ABORTED: ErrorKind.ABORTED,
}


class RunningSource:
    """Facts from programs that run in the kernel, whoever compiled and attached them."""

    name = "ebpf"

    def __init__(self, running: Running, stall_ns: int, patient: Patient | None = None) -> None:
        self._stall_ns = stall_ns
        self._running = running
        self.attach = running.name
        self.hooks = running.hooks
        programs = running.programs
        self._processes = [
            Processes(programs.map(name, PROCESS_KEY.size, PROCESS_TRAFFIC.size))
            for name in ("processes", "crowded_processes")
        ]
        self._endpoints = programs.map("endpoints", ENDPOINT_KEY.size, ENDPOINT.size)
        self._windows = ClosedWindows()
        budget = Budget()
        self._waits = Waits(stall_ns, patient or Patient(), self._endpoint, self._cause, budget)
        self._closers = closers.Closers(stall_ns)
        self._interfaces = Interfaces()
        self._late_owners = LateOwners(Search(budget))
        self._lost = [0] * len(LostWhere)
        self._missed_runs = 0
        self._unsound = 0  # records that make no sense
        self._unkept: Counter[int | None] = Counter()  # facts without room, by uid
        self._pending: list[Fact] = []
        self._room: Room[int] = Room(_MOST_PENDING)
        self._failures = Failures()
        self._turn = 0  # of the waits that are decided about, where there are too many
        self._look_again_ns = 0

    @property
    def sees(self) -> str:
        """What it shows and what not, for the line at start."""
        return f"{self.attach}: TCP and UDP by process, exact{self._refused}"

    @property
    def _refused(self) -> str:
        """Less exact, and why; empty where nothing is."""
        refused = self.hooks.refused
        return f", but the kernel refuses probes on {', '.join(refused)}" if refused else ""

    def fileno(self) -> int | None:
        """The ring buffer: readable when something rare has happened."""
        return self._running.news.fd

    def poll(self, now_ns: int) -> int:
        """Take what the ring holds, and note who waits now; CLOCK_MONOTONIC ns.

        What is seen here becomes evidence for stalls that end before the next drain.
        """
        if now_ns < self._look_again_ns:
            self._keep(self._from_ring(now_ns))
        else:
            begun_ns = time.monotonic_ns()
            chunk = self._running.look.run()
            waiting, left_out = self._chosen(chunk, self._sorted(chunk))
            # What ended before this look is told by what was seen at the one before.
            self._keep(self._from_ring(now_ns))
            self._windows.note(map(seen_wait, waiting))
            self._waits.look(waiting, whole=not left_out)
            took_ns = time.monotonic_ns() - begun_ns
            self._look_again_ns = now_ns + max(self._stall_ns, took_ns * _LOOK_SHARE)
        return self._look_again_ns

    def drain(self, now_ns: int) -> Batch:
        """Everything since the last drain, and every stall that lasts at this moment."""
        self._interfaces.forget()
        facts = self._pending
        self._pending = []
        self._room = Room(_MOST_PENDING)
        # Before the sockets: what an end has given by now, no socket's record can tell again.
        for processes in self._processes:
            facts.extend(processes.traffic(self._interfaces))
        chunk = self._running.drain.run()
        facts.extend(self._from_ring(now_ns))
        found = self._sorted(chunk)
        facts.extend(found.traffic)
        for record in self._sound(records_at(chunk, found.others)):
            facts.extend(self._facts(record))
        records, left_out = self._chosen(chunk, found)
        self._windows.note(map(seen_wait, records))
        facts.extend(map(self._stall, self._waits.tell(records, now_ns, whole=not left_out)))
        facts.extend(map(self._closing, self._closers.drain(time.monotonic_ns())))
        facts.extend(self._failures.sums(_ERRORS, self._interfaces.name))
        facts.extend(Lost("waits", count, uid) for uid, count in left_out.items())
        facts.extend(self._losses())
        much = len(chunk) > _MUCH_BYTES
        del chunk, found
        if much:
            give_back_memory()
        return Batch(now_ns, facts)

    def close(self) -> None:
        """Detach everything.  Safe to call twice."""
        self._waits.close()
        self._running.news.close()
        self._running.programs.close()

    def _keep(self, facts: Iterable[Fact]) -> None:
        """Until the next drain, which may be an hour away."""
        for fact in facts:
            uid = fact.socket.uid if isinstance(fact, Stall | SocketError) else None
            if self._room.take(uid, 1):
                self._pending.append(fact)
            else:
                self._unkept[uid] += fact.count if isinstance(fact, SocketError) else 1

    def _from_ring(self, now_ns: int) -> list[Fact]:
        records = (r for body in self._running.news.records() for r in self._decoded(body))
        return self._late_owners.named((f for r in records for f in self._facts(r)), now_ns)

    def _decoded(self, chunk: bytes) -> Iterator[Record]:
        """Records on end; what is none is counted, and told as lost."""
        self._unsound += len(chunk) % RECORD.size > 0
        return self._sound(decode(chunk))

    def _sorted(self, chunk: bytes) -> Sorted:
        self._unsound += len(chunk) % RECORD.size > 0
        return split(chunk, self._interfaces)

    def _sound(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if is_sound(record):
                yield record
            else:
                self._unsound += 1

    def _chosen(self, chunk: bytes, found: Sorted) -> tuple[list[Record], dict[int, int]]:
        """The waits that are decided about, a bounded number; how many are left out, by uid."""
        self._turn += 1
        kept, left_out = choose(found.waits, _MOST_WAITS, _MOST_WAITS, self._turn)
        return list(self._sound(records_at(chunk, kept))), left_out

    def _facts(self, record: Record) -> Iterator[Fact]:
        interface = self._interfaces.name(record.ifindex, record.netns)
        if record.kind == Kind.TRAFFIC:
            if record.sent_bytes or record.received_bytes:
                yield Traffic(record.owner, interface, record.sent_bytes, record.received_bytes)
            if record.occurrences:
                yield from self._failure(record, interface, Kind.RETRANSMIT)
        elif record.kind == Kind.STALL:
            told = self._waits.ended(record)
            if told is not None:
                yield self._stall(told)
        elif record.kind == Kind.CLOSING:
            self._closers.begin(record)
        elif record.kind == Kind.CLOSED:
            ended = self._closers.end(record)
            if ended is not None:
                yield self._closing(ended)
        elif record.kind != Kind.ONGOING:  # those are decided about together
            yield from self._failure(record, interface, Kind(record.kind))

    def _failure(self, record: Record, interface: str | None, kind: Kind) -> Iterator[SocketError]:
        if self._failures.has_room(record, kind, record.occurrences):
            socket = socket_of(record, interface)
            yield SocketError(record.owner, socket, _ERRORS[kind], record.occurrences)

    def _stall(self, told: Told) -> Stall:
        record = told.record
        interface = self._interfaces.name(record.ifindex, record.netns)
        return _stall(record, interface, told.cause)

    def _closing(self, record: Record) -> Stall:
        return self._stall(Told(record, closers.cause(record)))

    def _cause(self, record: Record) -> Cause | None:
        return self._windows.cause(seen_wait(record))

    def _endpoint(self, record: Record) -> Dialogue:
        """How connections of the same owner to the same peer went, as the kernel noted it."""
        return dialogue_of(record, self._endpoints.lookup)

    def _losses(self) -> Iterator[Lost]:
        totals = self._running.programs.per_cpu_sums("lost", len(LostWhere))
        # The kernel counts these, too, and sooner, but not each kernel does.
        missed = max(self._running.programs.missed_runs(), totals[LostWhere.RETURN])
        totals[LostWhere.RETURN] = 0
        for where, total, before in zip(LostWhere, totals, self._lost, strict=True):
            if total > before:
                yield Lost(where.name.lower(), total - before)
        self._lost = totals
        if missed > self._missed_runs:
            yield Lost("missed_runs", missed - self._missed_runs)
        self._missed_runs = max(missed, self._missed_runs)
        if self._unsound:
            yield Lost("unsound_records", self._unsound)
        for uid, count in self._unkept.items():
            yield Lost("pending", count, uid)
        if self._closers.unkept:
            yield Lost("closing", self._closers.unkept)
            self._closers.unkept = 0
        self._unsound = 0
        self._unkept.clear()


class KernelSource(RunningSource):
    """The programs compiled ahead; needs root or CAP_BPF and CAP_PERFMON, and kernel BTF.

    `stall_ns` is the least length of a stall; `attach` names the flavour; `patient` has the
    peers whose answers take their time; `log` takes what libbpf has to say.  Raises
    SourceUnavailable with the reason and the remedy.
    """

    def __init__(
        self,
        *,
        stall_ns: int = 100_000_000,
        attach: str = "auto",
        patient: Patient | None = None,
        sizes: Sizes | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(load(attach, stall_ns, sizes or Sizes(), log), stall_ns, patient)


def _stall(record: Record, interface: str | None, why: Cause | None) -> Stall:
    return Stall(
        owner=record.owner,
        socket=socket_of(record, interface),
        direction=DIRECTIONS[StallDirection(record.direction)],
        duration_ns=record.span_ns,
        ongoing=record.kind == Kind.ONGOING,
        cause=why,
        tid=record.tid or None,
    )
