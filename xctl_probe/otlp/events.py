"""Records as events: log records with a name, https://opentelemetry.io/docs/specs/otel/logs/."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from xctl_probe.events import (
    DroppedEvents,
    Placement,
    PortErrors,
    Process,
    QueuePairErrors,
    Socket,
    SocketError,
    Stall,
    State,
)
from xctl_probe.exporters.labels import counts, entity
from xctl_probe.exporters.records import (
    ErrorRecord,
    ProcessRecord,
    Record,
    StallRecord,
)
from xctl_probe.exporters.text import to_text
from xctl_probe.otlp import conventions as c
from xctl_probe.otlp.messages import Value, fill

Event = StallRecord | ErrorRecord | ProcessRecord
Pairs = Iterable[tuple[str, Value | None]]

WHERE = "otlp"  # of what is dropped here
STALL, ERROR, PROCESS = "xctl.stall", "xctl.error", "xctl.process"
_NS_PER_MS = 1_000_000
_NS_PER_S = 1e9
_WARN = (SeverityNumber.SEVERITY_NUMBER_WARN, "WARN")
_INFO = (SeverityNumber.SEVERITY_NUMBER_INFO, "INFO")


def is_event(record: Record) -> TypeGuard[Event]:
    """True for stalls, errors, and processes that begin or exit; the rest is in the metrics."""
    if isinstance(record, ProcessRecord):
        return record.state.state is not State.CONNECTED
    if isinstance(record, ErrorRecord) and isinstance(record.error, DroppedEvents):
        # What a receiver refuses would cause an event that it refuses, and so on.
        return record.error.where != WHERE
    return isinstance(record, (StallRecord, ErrorRecord, ProcessRecord))


def request(
    records: Sequence[Event], resource: Resource, scope: InstrumentationScope
) -> ExportLogsServiceRequest:
    """Return one request to /v1/logs."""
    found = ExportLogsServiceRequest()
    of_resource = found.resource_logs.add(resource=resource, schema_url=c.SCHEMA_URL)
    of_scope = of_resource.scope_logs.add(scope=scope, schema_url=c.SCHEMA_URL)
    now_ns = time.time_ns()
    for record in records:
        _fill(of_scope.log_records.add(), record, now_ns)
    return found


def _fill(found: LogRecord, record: Event, now_ns: int) -> None:
    name, pairs = _named(record)
    number, text = _INFO if isinstance(record, ProcessRecord) else _WARN
    found.time_unix_nano = record.ts_ms * _NS_PER_MS
    found.observed_time_unix_nano = now_ns
    found.severity_number = number
    found.severity_text = text
    found.event_name = name
    # The line of a terminal, without its time and its columns.
    found.body.string_value = " ".join(to_text(record).decode("ascii").split()[1:])
    fill(found.attributes, _process(record.owner))
    fill(found.attributes, _placement(record.placement))
    fill(found.attributes, (("xctl.entity", entity(record)), *pairs))


def _named(record: Event) -> tuple[str, Pairs]:
    if isinstance(record, StallRecord):
        return STALL, _stall(record.stall)
    if isinstance(record, ProcessRecord):
        return f"{PROCESS}.{record.state.state}", ()
    return ERROR, _error(record)


def _stall(stall: Stall) -> Pairs:
    peer, activity = stall.peer, stall.peer_activity
    return (
        ("xctl.stall.ongoing", stall.ongoing),
        ("xctl.stall.duration", stall.duration_ns / _NS_PER_S),
        (c.STALL_DIRECTION, stall.direction.value),
        (c.STALL_CAUSE, stall.cause.value if stall.cause else None),
        (c.STALL_PROBABLE, stall.probable or None),
        ("thread.id", stall.tid),
        (c.PEER_PID, peer.pid if peer else None),
        (c.PEER_COMM, peer.comm if peer else None),
        (c.PEER_STATE, activity.value if activity else None),
        *_socket(stall.socket),
    )


def _error(record: ErrorRecord) -> Pairs:
    error = record.error
    found = [(what, count) for what, count in counts(record) if count]
    pairs: list[tuple[str, Value | None]] = [
        (c.ERROR_TYPE, found[0][0] if len(found) == 1 else ",".join(what for what, _ in found)),
        ("xctl.error.count", sum(count for _, count in found)),
    ]
    if isinstance(error, SocketError):
        pairs += _socket(error.socket, of_many=error.sockets > 1)
        pairs.append(("xctl.error.sockets", error.sockets if error.sockets > 1 else None))
        pairs.append(("xctl.error.duplicates", error.duplicates or None))
    elif isinstance(error, PortErrors):
        pairs += [
            (c.INTERFACE, error.name),
            (c.PRIORITY, error.priority),
            ("xctl.error.counters", dict(error.counters)),
        ]
    elif isinstance(error, QueuePairErrors):
        pairs += [
            (c.COMM, None if error.owner else error.kernel_name),
            (c.INTERFACE, error.port),
            ("xctl.rdma.queue_pair.number", error.number),
            ("xctl.rdma.queue_pair.peer", error.peer),
            ("xctl.rdma.queue_pair.type", error.type),
            ("xctl.rdma.queue_pair.state", error.state),
        ]
    elif isinstance(error, DroppedEvents):
        pairs += [(c.PLACE, error.where), ("xctl.socket.uid", error.uid)]
    else:
        pairs.append((c.INTERFACE, error.interface))
        pairs += [(f"xctl.error.{what.lower()}", count) for what, count in found]
    return pairs


def _process(owner: Process | None) -> Pairs:
    return ((c.PID, owner.pid), (c.COMM, owner.comm)) if owner else ()


def _placement(placement: Placement | None) -> Pairs:
    if placement is None:
        return ()
    return (
        (c.JOB_ID, placement.job_id),
        ("xctl.job.rank", placement.rank),
        ("xctl.job.local_rank", placement.local_rank),
        (c.POD_UID, placement.pod_uid),
        (c.POD, placement.pod),
        (c.POD_NAMESPACE, placement.pod_namespace),
        (c.CONTAINER, placement.container),
    )


def _socket(socket: Socket, *, of_many: bool = False) -> Pairs:
    """Return what is known of a socket; the local address is none of several sockets."""
    local = bool(socket.local_address) and not of_many and bool(socket.remote_address)
    remote = bool(socket.remote_address)
    return (
        ("network.transport", socket.protocol or None),
        ("network.type", ("ipv6" if ":" in socket.remote_address else "ipv4") if remote else None),
        ("network.local.address", socket.local_address if local else None),
        ("network.local.port", socket.local_port if local else None),
        ("network.peer.address", socket.remote_address if remote else None),
        ("network.peer.port", socket.remote_port if remote else None),
        (c.INTERFACE, socket.interface),
        ("xctl.socket.uid", socket.uid),
        ("xctl.socket.cgroup", socket.cgroup),
    )
