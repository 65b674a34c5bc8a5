"""Records as NDJSON: one JSON object a line, ASCII only.

A line has six fields for the consumer (`ts`, `event_type`, `entity_id`, `job_id`, `pid`, `value`)
and the object `net` with the detail.  The consumer takes a process bandwidth below 1.0 and every
`transport.drop` with a pid as *this process waits on the network*, so neither is written without
evidence.  docs/records.md is the reference.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping

import orjson

from xctl_probe.events import (
    App,
    Counted,
    DroppedEvents,
    Placement,
    PortErrors,
    Process,
    ProcessState,
    QueuePairErrors,
    Socket,
    SocketError,
    Stall,
    State,
)
from xctl_probe.exporters.labels import counts, endpoints, entity, local, remote, socket_entity
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    MemoryRecord,
    ProcessRecord,
    Record,
    StallRecord,
)

BANDWIDTH, DROP, ERROR, STATE = "transport.bw", "transport.drop", "error.net", "process.state"
UTIL, MEM = "compute.util", "compute.mem"

_Packets = dict[str, dict[str, list[int]]]
Detail = dict[
    str,
    str | int | float | bool | dict[str, int] | list[list[str]] | list[str] | _Packets | None,
]

_NS_PER_MS = 1_000_000


def to_line(record: Record) -> bytes:
    """Return the record as one line for the consumer."""
    owner, placement = record.owner, record.placement
    # No match statement: an interval has up to thousands of records.
    if isinstance(record, BandwidthRecord):
        event_type, name, value = BANDWIDTH, record.interface, f"{record.mbps:.2f}"
        net = _bandwidth(record)
    elif isinstance(record, StallRecord):
        stall = record.stall
        duration_ms = stall.duration_ns // _NS_PER_MS
        event_type, name, value = DROP, socket_entity(stall.socket), f"STALL_{duration_ms}ms"
        net = _stall(stall, duration_ms)
    elif isinstance(record, ErrorRecord):
        event_type, name = ERROR, entity(record)
        value = ",".join([f"{what}:{count}" for what, count in counts(record)])
        net = _error(record, owner)
    elif isinstance(record, ProcessRecord):
        event_type, name, value = STATE, entity(record), record.state.state.value
        net = _state(record.state)
    else:
        event_type = UTIL if isinstance(record, CpuRecord) else MEM
        name, value = entity(record), f"{record.percent:.2f}"
        net = _load(record)
    if placement is not None:
        net |= _placement(placement)
    return ascii_json(
        {
            "ts": record.ts_ms,
            "event_type": event_type,
            "entity_id": name,
            "job_id": placement.job_id if placement else None,
            "pid": owner.pid if owner else None,
            "value": value,
            "net": net,
        }
    )


def _bandwidth(record: BandwidthRecord) -> Detail:
    net: Detail = {
        "rx_mbps": round(record.rx_mbps, 3),
        "tx_mbps": round(record.tx_mbps, 3),
        "rx_bytes": record.rx_bytes,
        "tx_bytes": record.tx_bytes,
        "interval_ms": record.elapsed_ns // _NS_PER_MS,
    }
    if record.owner is not None:
        net["comm"] = record.owner.comm
    if record.unattributed_bytes is not None:
        net["unattributed_bytes"] = record.unattributed_bytes
    if record.packets is not None:
        net["packets"] = {"rx": _counted(record.packets.rx), "tx": _counted(record.packets.tx)}
    if (link := record.link) is not None:
        net |= {
            "link_layer": link.layer,
            "rate": link.rate,
            "state": link.state,
            "netdev": link.netdev,
            "xmit_wait": record.xmit_wait,
        }
    return net


def _counted(counts: dict[str, Counted]) -> dict[str, list[int]]:
    return {kind: [one.packets, one.bytes] for kind, one in counts.items()}


def _stall(stall: Stall, duration_ms: int) -> Detail:
    socket = stall.socket
    return {
        "ongoing": stall.ongoing,
        "direction": stall.direction.value,
        "cause": stall.cause.value if stall.cause else None,
        "duration_ms": duration_ms,
        "tid": stall.tid,
        **_socket(socket, stall.owner, local(socket), remote(socket)),
        **_peer(stall),
        **({"probable": True} if stall.probable else {}),
    }


def _state(event: ProcessState) -> Detail:
    net: Detail = {"comm": event.owner.comm}
    if event.state is State.CONNECTED:
        net["state"] = event.activity.value if event.activity else None
        net["connections"] = [list(connection) for connection in event.connections]
    return net


def _load(record: CpuRecord | MemoryRecord) -> Detail:
    load = record.load
    net: Detail = {"comm": load.owner.comm}
    if isinstance(record, MemoryRecord):
        return net | {"resident_bytes": load.resident_bytes, "memory_bytes": load.memory_bytes}
    return net | {
        "cpu_ms": load.cpu_ns // _NS_PER_MS,
        "interval_ms": load.elapsed_ns // _NS_PER_MS,
    }


def _peer(stall: Stall) -> Detail:
    """What was seen of the peer; a consumer takes what is absent as not known."""
    net: Detail = {}
    if stall.peer is not None:
        net |= {"peer_pid": stall.peer.pid, "peer_comm": stall.peer.comm}
    if stall.peer_activity is not None:
        net["peer_state"] = stall.peer_activity.value
    return net


def _error(record: ErrorRecord, owner: Process | None) -> Detail:
    error = record.error
    if isinstance(error, SocketError):
        net = _socket(error.socket, owner, *endpoints(error))
        if error.sockets > 1:
            net["sockets"] = error.sockets
        if error.duplicates:
            net["duplicates"] = error.duplicates
        return net
    if isinstance(error, PortErrors):
        priority: Detail = {} if error.priority is None else {"priority": error.priority}
        comm: Detail = {"comm": owner.comm} if owner else {}
        return priority | {"counters": dict(error.counters)} | comm
    if isinstance(error, QueuePairErrors):
        return {
            "qp": error.number,
            "remote_qp": error.peer,
            "type": error.type,
            "state": error.state,
            "comm": owner.comm if owner else error.kernel_name,
        }
    if isinstance(error, DroppedEvents):
        return {"where": error.where} | ({} if error.uid is None else {"uid": error.uid})
    return {}


def _socket(socket: Socket, owner: Process | None, local: str | None, remote: str | None) -> Detail:
    net: Detail = {
        "protocol": socket.protocol,
        "local": local,
        "remote": remote,
        "interface": socket.interface,
        "comm": owner.comm if owner else None,
        "uid": socket.uid,
        "cgroup": socket.cgroup,
    }
    if socket.app is not None:
        net |= _app(socket.app)
    return net


def _app(app: App) -> Detail:
    net: Detail = {"app": app.name}
    if app.sni is not None:
        net["sni"] = app.sni
    if app.alpn:
        net["alpn"] = list(app.alpn)
    return net


def _placement(placement: Placement) -> Detail:
    net: Detail = {
        "pod_uid": placement.pod_uid,
        "pod": placement.pod,
        "pod_namespace": placement.pod_namespace,
        "container": placement.container,
        "rank": placement.rank,
        "local_rank": placement.local_rank,
    }
    return {name: value for name, value in net.items() if value is not None}


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].encode("utf-16-be")
    units = (text[i : i + 2].hex() for i in range(0, len(text), 2))
    return "".join(f"\\u{unit}" for unit in units), error.end


codecs.register_error("xctl_json", _escape)


def ascii_json(value: Mapping[str, object]) -> bytes:
    """Return `value` as one line of ASCII JSON."""
    # orjson writes UTF-8, and one invalid byte blocks the consumer forever, so bytes above 126
    # are escaped.  Outside strings JSON is ASCII, so escaping the line escapes the strings.
    line = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    if not line.isascii():
        line = line.decode().encode("ascii", "xctl_json")
    return line.replace(b"\x7f", b"\\u007f")
