"""The records: what a line says, and how facts become lines.

A line has six fields that the consumer reads (`ts`, `event_type`, `entity_id`, `job_id`,
`pid`, `value`) and one object, `net`, with the detail for whoever wants it.  A process
bandwidth below 1.0 and every `transport.drop` with a pid read as *this process waits on the
network*, so neither is written without cause.  docs/records.md is the reference.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from xctl_probe.events import InterfaceCounts, Lost, Process, Socket, SocketError, Stall
from xctl_probe.linux.addresses import endpoint_text

BANDWIDTH, DROP, ERROR = "transport.bw", "transport.drop", "error.net"
PROBE = "xctl-probe"  # the entity of the probe's own losses
UNKNOWN_INTERFACE = "unknown"

Detail = Mapping[str, str | int | float | bool | None]

_NS_PER_MS = 1_000_000
_BITS_NS_TO_MBPS = 8_000.0  # bytes per ns to megabits per second


@dataclass(frozen=True, slots=True)
class Event:
    """A stall or an error, ready to be written.  `ts_ms` is epoch milliseconds.

    `count`: what happened, in all that it tells: the writer that drops it counts so many lost.
    """

    ts_ms: int
    event_type: str
    entity: str
    pid: int | None
    value: str
    net: Detail
    count: int = 1


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What an interface moved, in all (`owner` None) or for one process.

    Kept as bytes over time until it is written, so that windows that wait for a slow reader
    can be added up into one.  `unattributed_bytes`: what no visible process accounts for.
    """

    ts_ms: int
    interface: str
    owner: Process | None
    rx_bytes: int
    tx_bytes: int
    elapsed_ns: int
    unattributed_bytes: int | None = None

    @property
    def mbps(self) -> float:
        """Both directions together."""
        return _mbps(self.rx_bytes + self.tx_bytes, self.elapsed_ns)

    def plus(self, later: Bandwidth) -> Bandwidth:
        """This window and the following one of the same interface and process as one."""
        unattributed = self.unattributed_bytes
        if unattributed is not None:
            unattributed += later.unattributed_bytes or 0
        return replace(
            later,
            rx_bytes=self.rx_bytes + later.rx_bytes,
            tx_bytes=self.tx_bytes + later.tx_bytes,
            elapsed_ns=self.elapsed_ns + later.elapsed_ns,
            unattributed_bytes=unattributed,
        )


Record = Event | Bandwidth


def stall_event(stall: Stall, ts_ms: int) -> Event:
    """`STALL_<n>ms` on the socket."""
    duration_ms = stall.duration_ns // _NS_PER_MS
    net = {
        "ongoing": stall.ongoing,
        "direction": stall.direction.value,
        "cause": stall.cause.value if stall.cause else None,
        "duration_ms": duration_ms,
        "tid": stall.tid,
        **_socket_detail(stall.socket, stall.owner),
    }
    entity = _entity(stall.socket)
    return Event(ts_ms, DROP, entity, _pid(stall.owner), f"STALL_{duration_ms}ms", net)


def error_event(error: SocketError, ts_ms: int) -> Event:
    """`RETRANSMIT:<n>` and the like on the socket; without an inode, of nobody."""
    owner = error.owner if error.socket.inode else None
    detail = _socket_detail(error.socket, owner)
    if error.sockets > 1:
        detail |= {"local": None, "sockets": error.sockets}
    if not error.socket.remote_address:  # of several peers
        detail |= {"local": None, "remote": None}
    return Event(
        ts_ms,
        ERROR,
        _entity(error.socket),
        _pid(owner),
        f"{error.kind.value}:{error.count}",
        detail,
        error.count,
    )


def interface_events(counts: InterfaceCounts, ts_ms: int) -> list[Event]:
    """Errors and drops of an interface, where there were any."""
    events = []
    for name, rx, tx in (
        ("ERR", counts.rx_errors, counts.tx_errors),
        ("DROP", counts.rx_dropped, counts.tx_dropped),
    ):
        if rx or tx:
            value = f"RX_{name}:{rx},TX_{name}:{tx}"
            events.append(Event(ts_ms, ERROR, counts.name, None, value, {}))
    return events


def lost_event(lost: Lost, ts_ms: int) -> Event:
    """`PROBE_LOST:<n>`: facts that never became records."""
    net: dict[str, str | int] = {"where": lost.where}
    if lost.uid is not None:
        net["uid"] = lost.uid
    return Event(ts_ms, ERROR, PROBE, None, f"PROBE_LOST:{lost.count}", net, lost.count)


def to_line(record: Record) -> bytes:
    """One line of NDJSON: ASCII only, ending in a newline."""
    event = _bandwidth_event(record) if isinstance(record, Bandwidth) else record
    return ascii_json(
        {
            "ts": event.ts_ms,
            "event_type": event.event_type,
            "entity_id": event.entity,
            "job_id": None,
            "pid": event.pid,
            "value": event.value,
            "net": event.net,
        }
    )


def _bandwidth_event(bandwidth: Bandwidth) -> Event:
    owner, elapsed_ns = bandwidth.owner, bandwidth.elapsed_ns
    net: dict[str, str | int | float | bool | None] = {
        "rx_mbps": round(_mbps(bandwidth.rx_bytes, elapsed_ns), 3),
        "tx_mbps": round(_mbps(bandwidth.tx_bytes, elapsed_ns), 3),
        "rx_bytes": bandwidth.rx_bytes,
        "tx_bytes": bandwidth.tx_bytes,
        "interval_ms": elapsed_ns // _NS_PER_MS,
    }
    if owner is not None:
        net["comm"] = owner.comm
    if bandwidth.unattributed_bytes is not None:
        net["unattributed_bytes"] = bandwidth.unattributed_bytes
    return Event(
        bandwidth.ts_ms, BANDWIDTH, bandwidth.interface, _pid(owner), f"{bandwidth.mbps:.2f}", net
    )


def _socket_detail(socket: Socket, owner: Process | None) -> dict[str, str | int | None]:
    return {
        "protocol": socket.protocol,
        "local": endpoint_text(socket.local_address, socket.local_port),
        "remote": endpoint_text(socket.remote_address, socket.remote_port),
        "interface": socket.interface,
        "comm": owner.comm if owner else None,
        "uid": socket.uid,
        "cgroup": socket.cgroup,
    }


def _entity(socket: Socket) -> str:
    # A connection that ended before it was accepted never had an inode.
    return f"socket-{socket.inode}" if socket.inode else socket.interface or UNKNOWN_INTERFACE


def _pid(owner: Process | None) -> int | None:
    return owner.pid if owner else None


def _mbps(count: int, elapsed_ns: int) -> float:
    return count * _BITS_NS_TO_MBPS / elapsed_ns if elapsed_ns > 0 else 0.0


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].encode("utf-16-be")
    units = (text[i : i + 2].hex() for i in range(0, len(text), 2))
    return "".join(f"\\u{unit}" for unit in units), error.end


codecs.register_error("xctl_json", _escape)


def ascii_json(value: Mapping[str, object]) -> bytes:
    """`value` as one line of ASCII JSON."""
    # orjson writes UTF-8; one invalid byte wedges the consumer for good, so no byte above
    # 126 leaves here.  Outside strings JSON is ASCII, so escaping the line escapes the strings.
    line = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    if not line.isascii():
        line = line.decode().encode("ascii", "xctl_json")
    return line.replace(b"\x7f", b"\\u007f")
