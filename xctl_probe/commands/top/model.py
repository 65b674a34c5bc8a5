"""State of the screen, from the records that the stream writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs
from xctl_probe.events import (
    Cause,
    Direction,
    DroppedEvents,
    PacketCounts,
    PeerActivity,
    Process,
    SocketError,
)
from xctl_probe.exporters.labels import app_text, counts, endpoints, entity, remote
from xctl_probe.exporters.records import BandwidthRecord, ErrorRecord, Record, StallRecord

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
KEEP_NS = 60 * _NS_PER_S  # how long finished stalls and errors stay on the screen
_QUIET_NS = 5 * _NS_PER_S  # how long a process without traffic stays on the screen
_MOST = 500  # entries of each list

_Key = tuple[str, int | None, str]  # of a stall: entity, process and direction


@dataclass(frozen=True, slots=True)
class Rates:
    """Traffic of a process or, with pid None, an interface, in Mbps."""

    pid: int | None
    comm: str
    interface: str
    rx_mbps: float
    tx_mbps: float
    seen_ns: int
    packets: str = ""  # of an interface a second, by protocol, where they are counted

    @property
    def mbps(self) -> float:
        """Sum of both directions."""
        return self.rx_mbps + self.tx_mbps


@dataclass(frozen=True, slots=True)
class Stalled:
    """A stall, ongoing or over."""

    entity: str
    pid: int | None
    comm: str
    interface: str
    direction: Direction
    cause: Cause | None
    remote: str
    duration_ms: int
    ongoing: bool
    seen_ns: int
    app: str = ""  # the protocol of the socket, where known
    peer: Process | None = None  # for whom, where that is on this host
    peer_activity: PeerActivity | None = None


@dataclass(frozen=True, slots=True)
class WaitedFor:
    """A process of this host that others wait for, or waited for in the last minute.

    `activity` is what it was last seen to do.  `duration_ms` adds up the waits, `waiting` counts
    the processes whose wait goes on, `waiters` those and the others.
    """

    pid: int
    comm: str
    activity: PeerActivity | None
    waiting: int
    waiters: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An error, with its count since it first occurred.

    `interface` is that of the socket, or the interface or RDMA port itself; empty where unknown.
    """

    entity: str
    pid: int | None
    comm: str
    interface: str
    what: str
    count: int
    remote: str
    seen_ns: int
    app: str = ""


@dataclass(frozen=True, slots=True)
class QueuePairs:
    """The RDMA queue pairs of a process on one device."""

    pid: int
    comm: str
    on: DeviceQueuePairs


@dataclass(frozen=True, slots=True)
class View:
    """Content of the screen; ongoing and latest entries come first."""

    now_ns: int
    interfaces: tuple[Rates, ...] = ()
    processes: tuple[Rates, ...] = ()
    stalls: tuple[Stalled, ...] = ()
    errors: tuple[Failed, ...] = ()
    queue_pairs: tuple[QueuePairs, ...] = ()
    waited_for: tuple[WaitedFor, ...] = ()


@dataclass(slots=True)
class Model:
    """Keeps the entries of the screen between intervals."""

    _interfaces: dict[str, Rates] = field(default_factory=dict)
    _processes: dict[tuple[int | None, str], Rates] = field(default_factory=dict)
    _running: dict[_Key, Stalled] = field(default_factory=dict)
    _ended: list[Stalled] = field(default_factory=list)
    _errors: dict[tuple[str, int | None, str], Failed] = field(default_factory=dict)

    def add(self, records: Iterable[Record], now_ns: int) -> None:
        """Add the records of one interval; `now_ns` is the monotonic time."""
        running, self._running = self._running, {}
        self._processes = {
            key: replace(one, rx_mbps=0.0, tx_mbps=0.0) for key, one in self._processes.items()
        }
        for record in records:
            match record:
                case BandwidthRecord():
                    self._moved(record, now_ns)
                case StallRecord():
                    self._stalled(record, now_ns, running)
                case ErrorRecord():
                    self._failed(record, now_ns)
        # A stall without further records: its socket is gone, its end was missed.
        for key, stall in running.items():
            if key not in self._running and not self._has_ended(stall):
                self._ended.append(replace(stall, ongoing=False, seen_ns=now_ns))
        self._forget(now_ns)

    def view(self, now_ns: int) -> View:
        """Return the content of the screen."""
        running = sorted(self._running.values(), key=lambda s: -s.duration_ms)
        ended = sorted(self._ended, key=lambda s: -s.seen_ns)
        errors = sorted(self._errors.values(), key=lambda e: -e.seen_ns)
        return View(
            now_ns,
            tuple(self._interfaces.values()),
            tuple(self._processes.values()),
            (*running, *ended),
            tuple(errors),
            waited_for=_waited_for((*ended, *running)),
        )

    def _moved(self, record: BandwidthRecord, now_ns: int) -> None:
        pid, comm = _process(record.owner)
        rates = Rates(pid, comm, record.interface, record.rx_mbps, record.tx_mbps, now_ns)
        if record.owner is None:
            self._interfaces[record.interface] = replace(rates, packets=_packets(record))
        else:
            self._processes[pid, record.interface] = rates

    def _stalled(self, record: StallRecord, now_ns: int, before: Mapping[_Key, Stalled]) -> None:
        stall = record.stall
        row = Stalled(
            entity(record),
            *_process(record.owner),
            stall.socket.interface or "",
            stall.direction,
            stall.cause,
            remote(stall.socket),
            stall.duration_ns // _NS_PER_MS,
            stall.ongoing,
            now_ns,
            app_text(stall.socket),
            stall.peer,
            stall.peer_activity,
        )
        key = (row.entity, row.pid, row.direction)
        if earlier := before.get(key):  # a record has only what was seen of the peer just now
            row = replace(
                row,
                peer=row.peer or earlier.peer,
                peer_activity=row.peer_activity or earlier.peer_activity,
            )
        if row.ongoing:
            self._running[key] = row
        else:
            self._ended.append(row)

    def _has_ended(self, stall: Stalled) -> bool:
        return any(
            (e.entity, e.pid, e.direction) == (stall.entity, stall.pid, stall.direction)
            and e.duration_ms >= stall.duration_ms
            for e in self._ended
        )

    def _failed(self, record: ErrorRecord, now_ns: int) -> None:
        name, error = entity(record), record.error
        pid, comm = _process(record.owner)
        interface, peer, app = "", None, ""
        if isinstance(error, SocketError):
            interface, (_, peer) = error.socket.interface or "", endpoints(error)
            app = app_text(error.socket)
        elif not isinstance(error, DroppedEvents):
            interface = name
        for what, count in counts(record):
            key = (name, pid, what)
            before = self._errors.get(key)
            total = (before.count if before else 0) + count
            if total:
                self._errors[key] = Failed(
                    name, pid, comm, interface, what, total, peer or "", now_ns, app
                )

    def _forget(self, now_ns: int) -> None:
        self._ended = [e for e in self._ended if now_ns - e.seen_ns < KEEP_NS][-_MOST:]
        latest = [(k, e) for k, e in self._errors.items() if now_ns - e.seen_ns < KEEP_NS]
        self._errors = dict(sorted(latest, key=lambda pair: pair[1].seen_ns)[-_MOST:])
        self._processes = {
            k: p for k, p in self._processes.items() if now_ns - p.seen_ns < _QUIET_NS
        }
        self._interfaces = {
            k: i for k, i in self._interfaces.items() if now_ns - i.seen_ns < _QUIET_NS
        }


def _waited_for(stalls: Sequence[Stalled]) -> tuple[WaitedFor, ...]:
    """Return whom these stalls wait for: who holds up the most processes first, then by time.

    Of two stalls the later one in the sequence has the newer activity of the peer.
    """
    of_peer: dict[Process, list[Stalled]] = {}
    for stall in stalls:
        if stall.peer is not None:
            of_peer.setdefault(stall.peer, []).append(stall)
    found = [
        WaitedFor(
            peer.pid,
            peer.comm,
            next((s.peer_activity for s in reversed(waits) if s.peer_activity), None),
            len({s.pid for s in waits if s.ongoing}),
            len({s.pid for s in waits}),
            sum(s.duration_ms for s in waits),
        )
        for peer, waits in of_peer.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.waiting, -one.duration_ms, one.pid)))


def _packets(record: BandwidthRecord) -> str:
    """Return packets a second of both directions, `tcp 120 udp 7 packets/s`; empty: not counted."""
    if record.packets is None or not record.elapsed_ns:
        return ""
    both = record.packets.merge(PacketCounts(rx=record.packets.tx)).rx
    words = [
        f"{kind} {one.packets * _NS_PER_S / record.elapsed_ns:.0f}" for kind, one in both.items()
    ]
    return f"{' '.join(words) or 0} packets/s"


def _process(owner: Process | None) -> tuple[int | None, str]:
    return (owner.pid, owner.comm) if owner else (None, "")
