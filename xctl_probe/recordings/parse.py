"""Lines of NDJSON to records: the reverse of xctl_probe/exporters/ndjson.py.

A line has no start time of a process, no cookie of a socket, and no time below a millisecond.
"""

from __future__ import annotations

from typing import Any

import orjson

from xctl_probe.events import (
    App,
    Cause,
    Connection,
    Counted,
    Direction,
    DroppedEvents,
    ErrorKind,
    PacketCounts,
    PeerActivity,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessLoad,
    ProcessState,
    QueuePairErrors,
    RdmaLink,
    Socket,
    SocketError,
    Stall,
    State,
)
from xctl_probe.exporters.labels import PROBE
from xctl_probe.exporters.ndjson import BANDWIDTH, DROP, ERROR, MEM, STATE, UTIL
from xctl_probe.exporters.records import (
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

_NS_PER_MS = 1_000_000
_SOCKET = "socket-"
_UNPLACED = Placement()

_Object = dict[str, Any]


def to_record(line: bytes) -> Record | None:
    """Return the record of a line, None where it is of an unknown kind or no record."""
    try:
        found = orjson.loads(line)
        return _record(found, found["net"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _record(line: _Object, net: _Object) -> Record | None:
    ts_ms, kind = _int(line["ts"]), line["event_type"]
    owner = _process(line["pid"], net.get("comm"))
    placement = _placement(line["job_id"], net)
    if kind == BANDWIDTH:
        return _bandwidth(ts_ms, line["entity_id"], owner, placement, net)
    if kind == DROP:
        return StallRecord(ts_ms, _stall(line["entity_id"], owner, net), placement)
    if kind == ERROR:
        return ErrorRecord(ts_ms, _error(line, owner, net), placement)
    if kind == STATE and owner is not None:
        state = _state(State(line["value"]), owner, placement or Placement(), net)
        return ProcessRecord(ts_ms, state)
    if kind == UTIL and owner is not None:
        cpu_ns, elapsed_ns = (_int(net[name]) * _NS_PER_MS for name in ("cpu_ms", "interval_ms"))
        return CpuRecord(ts_ms, ProcessLoad(owner, cpu_ns, elapsed_ns, 0, 0), placement)
    if kind == MEM and owner is not None:
        resident, memory = _int(net["resident_bytes"]), _int(net["memory_bytes"])
        return MemoryRecord(ts_ms, ProcessLoad(owner, 0, 0, resident, memory), placement)
    return None


def _state(state: State, owner: Process, placement: Placement, net: _Object) -> ProcessState:
    if state is not State.CONNECTED:
        return ProcessState(owner, placement, state)
    activity = net["state"]
    return ProcessState(
        owner,
        placement,
        state,
        tuple(Connection(_text(here), _text(there)) for here, there in net["connections"]),
        None if activity is None else PeerActivity(activity),
    )


def _bandwidth(
    ts_ms: int, interface: object, owner: Process | None, placement: Placement | None, net: _Object
) -> BandwidthRecord:
    link = None
    if "link_layer" in net:
        link = RdmaLink(
            _text(net["link_layer"]),
            _text(net["rate"]),
            _text(net["state"]),
            _text_or_none(net["netdev"]),
        )
    return BandwidthRecord(
        ts_ms,
        _text(interface),
        owner,
        _int(net["rx_bytes"]),
        _int(net["tx_bytes"]),
        _int(net["interval_ms"]) * _NS_PER_MS,
        _int_or_none(net.get("unattributed_bytes")),
        link,
        _int_or_none(net.get("xmit_wait")),
        placement,
        _packets(net["packets"]) if "packets" in net else None,
    )


def _packets(both: _Object) -> PacketCounts:
    return PacketCounts(*(_counted(both[way]) for way in ("rx", "tx")))


def _counted(counts: _Object) -> dict[str, Counted]:
    return {_text(kind): Counted(*map(_int, pair)) for kind, pair in counts.items()}


def _stall(entity: object, owner: Process | None, net: _Object) -> Stall:
    cause, activity = net["cause"], net.get("peer_state")
    return Stall(
        owner,
        _socket(entity, net),
        Direction(net["direction"]),
        _int(net["duration_ms"]) * _NS_PER_MS,
        bool(net["ongoing"]),
        None if cause is None else Cause(cause),
        _int_or_none(net["tid"]),
        _process(net.get("peer_pid"), net.get("peer_comm")),
        None if activity is None else PeerActivity(activity),
        net.get("probable", False) is True,
    )


def _error(
    line: _Object, owner: Process | None, net: _Object
) -> SocketError | InterfaceErrors | PortErrors | QueuePairErrors | DroppedEvents:
    entity, value = _text(line["entity_id"]), _text(line["value"])
    counts = {
        what: int(count) for what, _, count in (one.partition(":") for one in value.split(","))
    }
    what, count = next(iter(counts.items()))
    if entity == PROBE:
        return DroppedEvents(_text(net["where"]), count, _int_or_none(net.get("uid")))
    if "protocol" in net:
        socket = _socket(entity, net)
        sockets, duplicates = _int(net.get("sockets", 1)), _int(net.get("duplicates", 0))
        return SocketError(owner, socket, ErrorKind(what), count, sockets, duplicates)
    if "qp" in net:
        return QueuePairErrors(
            owner,
            entity,
            count,
            _int(net["qp"]),
            _int_or_none(net["remote_qp"]),
            _text(net["type"]),
            _text(net["state"]),
            None if owner else _text_or_none(net["comm"]),
        )
    if "counters" in net:
        grown = tuple((_text(name), _int(n)) for name, n in net["counters"].items())
        return PortErrors(
            entity, PortErrorKind(what), count, grown, _int_or_none(net.get("priority")), owner
        )
    failure = InterfaceFailure(what.removeprefix("RX_"))
    return InterfaceErrors(entity, failure, count, counts[f"TX_{failure}"])


def _socket(entity: object, net: _Object) -> Socket:
    name = _text(entity)
    inode = int(name.removeprefix(_SOCKET)) if name.startswith(_SOCKET) else 0
    return Socket(
        inode,
        0,
        _text(net["protocol"]),
        *_endpoint(net["local"]),
        *_endpoint(net["remote"]),
        _text_or_none(net["interface"]),
        _int_or_none(net["uid"]),
        _int_or_none(net["cgroup"]),
        _app(net),
    )


def _app(net: _Object) -> App | None:
    if "app" not in net:
        return None
    offered = tuple(map(_text, net.get("alpn", ())))
    return App(_text(net["app"]), _text_or_none(net.get("sni")), offered)


def _endpoint(text: object) -> tuple[str, int]:
    """Return address and port; of a sum over several, the empty address."""
    if text is None:
        return "", 0
    address, _, port = _text(text).rpartition(":")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _process(pid: object, comm: object) -> Process | None:
    return None if pid is None else Process(_int(pid), 0, _text_or_none(comm) or "")


def _placement(job_id: object, net: _Object) -> Placement | None:
    found = Placement(
        job_id=_text_or_none(job_id),
        pod_uid=_text_or_none(net.get("pod_uid")),
        pod=_text_or_none(net.get("pod")),
        pod_namespace=_text_or_none(net.get("pod_namespace")),
        container=_text_or_none(net.get("container")),
        rank=_int_or_none(net.get("rank")),
        local_rank=_int_or_none(net.get("local_rank")),
    )
    return found if found != _UNPLACED else None


def _int(value: object) -> int:
    if type(value) is not int:  # a bool is no number here
        raise TypeError(value)
    return value


def _int_or_none(value: object) -> int | None:
    return None if value is None else _int(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)
