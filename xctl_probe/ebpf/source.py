"""The kernel source: programs count and note in the kernel, this reads them once an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from xctl_probe.dialogue import Dialogue
from xctl_probe.ebpf.bulk import split
from xctl_probe.ebpf.endpoints import dialogue_of
from xctl_probe.ebpf.interfaces import Interfaces
from xctl_probe.ebpf.late_owners import LateOwners
from xctl_probe.ebpf.loading import Sizes, load
from xctl_probe.ebpf.processes import Processes
from xctl_probe.ebpf.records import (
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
from xctl_probe.ebpf.running import Running
from xctl_probe.ebpf.waits import Told, Waits
from xctl_probe.ebpf.windows import ClosedWindows
from xctl_probe.facts import (
    Batch,
    Cause,
    Direction,
    ErrorKind,
    Fact,
    Lost,
    SocketError,
    Stall,
    Traffic,
)
from xctl_probe.patience import Patient

# Looking at all sockets between two drains may take this part of the time, not more.
_LOOK_SHARE = 50

_MOST_PENDING = 65_536  # facts between two drains

_ERRORS = {
    Kind.RETRANSMIT: ErrorKind.RETRANSMIT,
    Kind.REFUSED: ErrorKind.REFUSED,
    Kind.TIMEOUT: ErrorKind.TIMEOUT,
    Kind.RESET: ErrorKind.RESET,
}
_DIRECTIONS = {
    StallDirection.SEND: Direction.SEND,
    StallDirection.RECEIVE: Direction.RECEIVE,
    StallDirection.CONNECT: Direction.CONNECT,
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
        self._processes = Processes(
            programs.map("processes", PROCESS_KEY.size, PROCESS_TRAFFIC.size)
        )
        self._endpoints = programs.map("endpoints", ENDPOINT_KEY.size, ENDPOINT.size)
        self._windows = ClosedWindows()
        self._waits = Waits(stall_ns, patient or Patient(), self._endpoint, self._windows.cause)
        self._interfaces = Interfaces()
        self._late_owners = LateOwners()
        self._lost = [0] * len(LostWhere)
        self._missed_runs = 0
        self._unsound = self._unkept = 0  # records that make no sense, facts without room
        self._pending: list[Fact] = []
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
            waiting = self._decoded(self._running.look.run())
            # What ended before this look is told by what was seen at the one before.
            self._keep(self._from_ring(now_ns))
            self._windows.note(waiting)
            self._waits.look(waiting)
            took_ns = time.monotonic_ns() - begun_ns
            self._look_again_ns = now_ns + max(self._stall_ns, took_ns * _LOOK_SHARE)
        return self._look_again_ns

    def drain(self, now_ns: int) -> Batch:
        """Everything since the last drain, and every stall that lasts at this moment."""
        self._interfaces.forget()
        facts = self._pending
        self._pending = []
        # Before the sockets: what an end has given by now, no socket's record can tell again.
        facts.extend(self._processes.traffic(self._interfaces))
        chunk = self._running.drain.run()
        facts.extend(self._from_ring(now_ns))
        traffic, others = split(chunk, self._interfaces)
        facts.extend(traffic)
        records = self._decoded(others)
        self._windows.note(records)
        for record in records:
            facts.extend(self._facts(record))
        facts.extend(map(self._stall, self._waits.tell(records, now_ns)))
        facts.extend(self._losses())
        return Batch(now_ns, facts)

    def close(self) -> None:
        """Detach everything.  Safe to call twice."""
        self._waits.close()
        self._running.news.close()
        self._running.programs.close()

    def _keep(self, facts: Iterable[Fact]) -> None:
        """Until the next drain, which may be an hour away."""
        for fact in facts:
            if len(self._pending) < _MOST_PENDING:
                self._pending.append(fact)
            else:
                self._unkept += 1

    def _from_ring(self, now_ns: int) -> list[Fact]:
        records = (r for body in self._running.news.records() for r in self._decoded(body))
        return self._late_owners.named((f for r in records for f in self._facts(r)), now_ns)

    def _decoded(self, chunk: bytes) -> list[Record]:
        """Records on end; what is none is counted, and told as lost."""
        records = [record for record in decode(chunk) if is_sound(record)]
        self._unsound += -(-len(chunk) // RECORD.size) - len(records)
        return records

    def _facts(self, record: Record) -> Iterator[Fact]:
        interface = self._interfaces.name(record.ifindex, record.netns)
        if record.kind == Kind.TRAFFIC:
            yield from _traffic(record, interface)
        elif record.kind == Kind.STALL:
            told = self._waits.ended(record)
            if told is not None:
                yield self._stall(told)
        elif record.kind != Kind.ONGOING:  # those are decided about together
            yield _error(record, interface, _ERRORS[Kind(record.kind)], record.occurrences)

    def _stall(self, told: Told) -> Stall:
        record = told.record
        interface = self._interfaces.name(record.ifindex, record.netns)
        return _stall(record, interface, told.cause)

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
        if self._unkept:
            yield Lost("pending", self._unkept)
        self._unsound = self._unkept = 0


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


def _traffic(record: Record, interface: str | None) -> Iterator[Fact]:
    if record.sent_bytes or record.received_bytes:
        yield Traffic(record.owner, interface, record.sent_bytes, record.received_bytes)
    if record.occurrences:
        yield _error(record, interface, ErrorKind.RETRANSMIT, record.occurrences)


def _stall(record: Record, interface: str | None, why: Cause | None) -> Stall:
    return Stall(
        owner=record.owner,
        socket=socket_of(record, interface),
        direction=_DIRECTIONS[StallDirection(record.direction)],
        duration_ns=record.span_ns,
        ongoing=record.kind == Kind.ONGOING,
        cause=why,
        tid=record.tid or None,
    )


def _error(record: Record, interface: str | None, kind: ErrorKind, count: int) -> SocketError:
    return SocketError(record.owner, socket_of(record, interface), kind, count)
