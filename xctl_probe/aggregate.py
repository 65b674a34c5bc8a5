"""Records of one interval from its events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from xctl_probe.events import (
    DroppedEvents,
    ErrorKind,
    Event,
    InterfaceDelta,
    PacketDelta,
    Placement,
    PortErrors,
    Process,
    ProcessLoad,
    ProcessState,
    QueuePairErrors,
    RdmaPortDelta,
    Socket,
    SocketError,
    Stall,
    State,
    TrafficDelta,
)
from xctl_probe.exporters.records import (
    UNKNOWN_INTERFACE,
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    ProcessRecord,
    Record,
    StallRecord,
)
from xctl_probe.fair import choose
from xctl_probe.metrics import DEFAULT, Metric
from xctl_probe.traffic_totals import TrafficTotals

# Limits of the records of one interval: no process and no user can flood the reader.
_MOST_STALLS, _MOST_ERRORS = 1_024, 1_024
_OF_PROCESS = 256
# The consumer takes a process for a stalled one where all that it consumes is below this.
LEAST_PERCENT = 1.0  # of CPU or memory


Placed = Callable[[Process | None], Placement | None]


@dataclass(frozen=True, slots=True)
class Filter:
    """Filter of the records, from the options.  Empty sets mean everything.

    `min_mbps`: least Mbps of the bandwidth record of a process.  Loopback traffic counts only
    with `loopback`, or when the interface is named.  `metrics`: what is measured at all.
    `least_percent`: least CPU and memory of their records.
    """

    min_mbps: float = 1.0
    pids: frozenset[int] = frozenset()
    interfaces: frozenset[str] = frozenset()
    loopback: bool = False
    metrics: frozenset[Metric] = DEFAULT
    least_percent: float = LEAST_PERCENT

    def wants_owner(self, owner: Process | None) -> bool:
        """True when events of this process are wanted."""
        return not self.pids or (owner is not None and owner.pid in self.pids)

    def wants_traffic(self, interface: str | None) -> bool:
        """True when bandwidth on this interface is wanted."""
        if self.interfaces:
            return interface in self.interfaces
        return self.loopback or interface != "lo"

    def wants_event(self, interface: str | None) -> bool:
        """True when stalls and errors on this interface are wanted; on loopback they always are."""
        return not self.interfaces or interface in self.interfaces


@dataclass(slots=True)
class _Failed:
    count: int = 0
    sockets: int = 1
    duplicates: int = 0


@dataclass(slots=True)
class _Sums:
    traffic: TrafficTotals = field(default_factory=TrafficTotals)
    ports: set[str] = field(default_factory=set)  # RDMA ports with traffic, all of them wanted
    stalls: list[Stall] = field(default_factory=list)
    errors: dict[tuple[Socket, ErrorKind, Process | None], _Failed] = field(default_factory=dict)

    def add_traffic(self, event: TrafficDelta) -> None:
        interface = event.interface or UNKNOWN_INTERFACE
        self.traffic.add(
            event.owner, interface, event.sent_bytes, event.received_bytes, event.elapsed_ns
        )
        if event.of_port:
            self.ports.add(interface)


def _is_wanted(event: RdmaPortDelta | PortErrors | QueuePairErrors, wanted: Filter) -> bool:
    if Metric.RDMA not in wanted.metrics:
        return False
    if isinstance(event, RdmaPortDelta) or (isinstance(event, PortErrors) and not event.owner):
        return True  # of all processes
    return wanted.wants_owner(event.owner)


def _with_ports(wanted: Filter, ports: set[str]) -> Filter:
    """Return the filter with these ports, whose interfaces it may name instead."""
    return replace(wanted, interfaces=wanted.interfaces | ports) if wanted.interfaces else wanted


def _unplaced(_: Process | None) -> None:
    return None


def aggregate(
    events: Iterable[Event],
    wanted: Filter,
    elapsed_ns: int,
    ts_ms: int,
    placed: Placed = _unplaced,
    *,
    has_bytes: bool = True,
) -> Iterator[Record]:
    """Return the records of one interval of `elapsed_ns`; their time is `ts_ms` (Unix epoch).

    `has_bytes`: the source counts the bytes of processes.

    The order is stalls, errors, bandwidth: by importance.  Processes that began, and connections,
    come before, processes that have exited after all.  `placed` gives the placement of a process.
    """
    sums = _Sums()
    interfaces: list[InterfaceDelta | PacketDelta] = []
    losses: list[DroppedEvents] = []
    ports: list[RdmaPortDelta | PortErrors | QueuePairErrors] = []
    states: list[ProcessState] = []
    loads: list[ProcessLoad] = []
    for event in events:
        match event:
            case TrafficDelta() if Metric.BANDWIDTH in wanted.metrics:
                sums.add_traffic(event)
            case Stall() if Metric.STALLS in wanted.metrics and wanted.wants_owner(event.owner):
                if wanted.wants_event(event.socket.interface):
                    sums.stalls.append(event)
            case SocketError() if Metric.ERRORS in wanted.metrics and wanted.wants_owner(
                event.owner
            ):
                if wanted.wants_event(event.socket.interface):
                    key = (event.socket, event.kind, event.owner)
                    failed = sums.errors.setdefault(key, _Failed())
                    failed.count += event.count
                    failed.sockets = max(failed.sockets, event.sockets)
                    failed.duplicates += event.duplicates
            case InterfaceDelta() | PacketDelta():
                interfaces.append(event)
            case RdmaPortDelta() | PortErrors() | QueuePairErrors() if _is_wanted(event, wanted):
                ports.append(event)
            case ProcessState() if wanted.wants_owner(event.owner):
                states.append(event)
            case ProcessLoad() if wanted.wants_owner(event.owner):
                loads.append(event)
            case DroppedEvents():
                losses.append(event)
    yield from _states(states, State.START, ts_ms)
    yield from _states(states, State.CONNECTED, ts_ms)
    yield from _stalls(sums.stalls, losses, ts_ms, placed)
    yield from _errors(sums, ts_ms, placed)
    for lost in losses:
        yield ErrorRecord(ts_ms, lost)
    yield from _ports(ports, ts_ms, placed)
    totals = list(sums.traffic.take()) if has_bytes and Metric.BANDWIDTH in wanted.metrics else None
    yield from _bandwidth(
        totals, interfaces, _with_ports(wanted, sums.ports), elapsed_ns, ts_ms, placed
    )
    yield from _loads(loads, wanted, ts_ms, placed)
    yield from _states(states, State.EXIT, ts_ms)


def _states(events: list[ProcessState], state: State, ts_ms: int) -> Iterator[Record]:
    for event in events:
        if event.state is state:
            yield ProcessRecord(ts_ms, event)


def _stalls(
    stalls: list[Stall], losses: list[DroppedEvents], ts_ms: int, placed: Placed
) -> Iterator[Record]:
    """Yield stalls up to the limit; the others are counted as dropped, by user."""
    numbers: dict[int | None, dict[Process | None, list[int]]] = {}
    for number, stall in enumerate(stalls):
        of_user = numbers.setdefault(stall.socket.uid, {})
        of_user.setdefault(stall.owner, []).append(number)
    kept, refused = choose(numbers, _MOST_STALLS, _OF_PROCESS)
    for number in kept:
        yield StallRecord(ts_ms, stalls[number], placed(stalls[number].owner))
    losses += [DroppedEvents("stalls", count, uid) for uid, count in refused.items()]


def _errors(sums: _Sums, ts_ms: int, placed: Placed) -> Iterator[Record]:
    """Yield errors up to the limit; the others are added up by user and kind."""
    errors = list(sums.errors.items())
    numbers: dict[int | None, dict[Process | None, list[int]]] = {}
    for number, ((socket, _, owner), _) in enumerate(errors):
        numbers.setdefault(socket.uid, {}).setdefault(owner, []).append(number)
    kept, _ = choose(numbers, _MOST_ERRORS, _OF_PROCESS)
    for number in kept:
        (socket, kind, owner), failed = errors[number]
        error = SocketError(owner, socket, kind, failed.count, failed.sockets, failed.duplicates)
        # Without an inode, the record has no process.
        yield ErrorRecord(ts_ms, error, placed(owner) if socket.inode else None)
    if len(kept) == len(errors):
        return
    rest: dict[tuple[int | None, ErrorKind], _Failed] = {}
    chosen = set(kept)
    for number, ((socket, kind, _), failed) in enumerate(errors):
        if number not in chosen:
            total = rest.setdefault((socket.uid, kind), _Failed(sockets=0))
            total.count += failed.count
            total.sockets += failed.sockets
            total.duplicates += failed.duplicates
    for (uid, kind), total in rest.items():
        nobodys = Socket(0, 0, "tcp", "", 0, "", 0, uid=uid)
        error = SocketError(None, nobodys, kind, total.count, total.sockets, total.duplicates)
        yield ErrorRecord(ts_ms, error)


def _bandwidth(
    totals: list[TrafficDelta] | None,
    interfaces: list[InterfaceDelta | PacketDelta],
    wanted: Filter,
    elapsed_ns: int,
    ts_ms: int,
    placed: Placed,
) -> Iterator[Record]:
    unattributed = {
        total.interface: total.sent_bytes + total.received_bytes
        for total in totals or ()
        if total.owner is None
    }
    packets = {one.interface: one.counts for one in interfaces if isinstance(one, PacketDelta)}
    for counts in (one for one in interfaces if isinstance(one, InterfaceDelta)):
        if Metric.ERRORS in wanted.metrics:
            yield from _interface_errors(counts, ts_ms)
        if wanted.metrics & {Metric.BANDWIDTH, Metric.PACKETS}:
            unknown = None if totals is None else unattributed.get(counts.name, 0)
            yield BandwidthRecord(
                ts_ms, counts.name, None, counts.rx_bytes, counts.tx_bytes, elapsed_ns,
                unknown, packets=packets.get(counts.name),
            )  # fmt: skip
    for total in totals or ():
        if total.owner is None or total.interface is None:
            continue
        if not (wanted.wants_owner(total.owner) and wanted.wants_traffic(total.interface)):
            continue
        record = BandwidthRecord(
            ts_ms, total.interface, total.owner, total.received_bytes, total.sent_bytes,
            max(total.elapsed_ns, elapsed_ns), placement=placed(total.owner),
        )  # fmt: skip
        if record.mbps >= wanted.min_mbps:
            yield record


def _ports(
    events: list[RdmaPortDelta | PortErrors | QueuePairErrors], ts_ms: int, placed: Placed
) -> Iterator[Record]:
    """Of RDMA ports: errors first, then bandwidth."""
    for event in events:
        if not isinstance(event, RdmaPortDelta):
            yield ErrorRecord(ts_ms, event, placed(event.owner))
    for event in events:
        if isinstance(event, RdmaPortDelta):
            yield BandwidthRecord(
                ts_ms, event.name, None, event.rx_bytes, event.tx_bytes, event.elapsed_ns,
                link=event.link, xmit_wait=event.xmit_wait,
            )  # fmt: skip


def _loads(
    loads: list[ProcessLoad], wanted: Filter, ts_ms: int, placed: Placed
) -> Iterator[Record]:
    """Yield CPU and memory where they are not taken for those of a stalled process."""
    for load in loads:
        placement = placed(load.owner)
        for record in (CpuRecord(ts_ms, load, placement), MemoryRecord(ts_ms, load, placement)):
            if record.percent >= wanted.least_percent:
                yield record


def _interface_errors(counts: InterfaceDelta, ts_ms: int) -> Iterator[Record]:
    """Yield the errors and drops of an interface, where there were any."""
    for kind, rx, tx in (
        (InterfaceFailure.ERRORS, counts.rx_errors, counts.tx_errors),
        (InterfaceFailure.DROPS, counts.rx_dropped, counts.tx_dropped),
    ):
        if rx or tx:
            yield ErrorRecord(ts_ms, InterfaceErrors(counts.name, kind, rx, tx))
