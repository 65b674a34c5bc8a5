"""Names of metrics and attributes, by the semantic conventions where these have one.

https://opentelemetry.io/docs/specs/semconv/system/: names, units and values of
`network.io.direction` are theirs.  What they have no name for begins with `xctl.`.
docs/opentelemetry.md has the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

from xctl_probe.prometheus import families as f

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


@dataclass(frozen=True, slots=True)
class Metric:
    """Name and unit (UCUM) of a metric.

    `monotonic` False: a gauge.  `as_seconds`: kept values are ns.
    """

    name: str
    unit: str
    monotonic: bool = True
    as_seconds: bool = False


METRICS = {
    f.PROCESS_BYTES: Metric("process.network.io", "By"),
    f.WAIT_SECONDS: Metric("xctl.stall.time", "s", as_seconds=True),
    f.WAITING_SOCKETS: Metric("xctl.stall.sockets", "{socket}", monotonic=False),
    f.PROCESS_CPU_SECONDS: Metric("process.cpu.time", "s", as_seconds=True),
    # A gauge of last readings; the official name is that of a sum.
    f.PROCESS_MEMORY_BYTES: Metric("xctl.process.memory.usage", "By", monotonic=False),
    f.RETRANSMITS: Metric("xctl.tcp.retransmits", "{segment}"),
    f.DUPLICATES: Metric("xctl.tcp.retransmit.duplicates", "{segment}"),
    f.CONNECT_FAILURES: Metric("xctl.connection.failures", "{connection}"),
    f.RESETS: Metric("xctl.connection.resets", "{connection}"),
    f.ABORTS: Metric("xctl.connection.aborts", "{connection}"),
    f.INTERFACE_BYTES: Metric("system.network.io", "By"),
    f.UNATTRIBUTED_BYTES: Metric("xctl.network.unattributed", "By"),
    # By kinds that overlap, as TCP and IPv4: no sum of them is system.network.packet.count.
    f.INTERFACE_PACKETS: Metric("xctl.packet.count", "{packet}"),
    f.INTERFACE_PACKET_BYTES: Metric("xctl.packet.io", "By"),
    f.INTERFACE_ERRORS: Metric("system.network.errors", "{error}"),
    f.INTERFACE_DROPS: Metric("system.network.packet.dropped", "{packet}"),
    f.RDMA_PORT_BYTES: Metric("xctl.rdma.io", "By"),
    f.XMIT_WAIT: Metric("xctl.rdma.xmit_wait", "{tick}"),
    f.PORT_ERRORS: Metric("xctl.port.errors", "{error}"),
    f.QUEUE_PAIR_ERRORS: Metric("xctl.rdma.queue_pair.errors", "{queue_pair}"),
    f.LOST_EVENTS: Metric("xctl.probe.lost_events", "{event}"),
    f.INTERVALS: Metric("xctl.probe.intervals", "{interval}"),
    f.SERIES: Metric("xctl.probe.series", "{series}", monotonic=False),
    f.SERIES_LIMIT: Metric("xctl.probe.series.limit", "{series}", monotonic=False),
    f.OTHER_RECORDS: Metric("xctl.probe.other_records", "{record}"),
    f.CPU_SECONDS: Metric("xctl.probe.cpu.time", "s", as_seconds=True),
    f.MEMORY_BYTES: Metric("xctl.probe.memory.usage", "By", monotonic=False),
}
# Each point has its time, and the resource has version and source.
LEFT_OUT = frozenset((f.LAST_INTERVAL, f.INTERVAL, f.INFO))

JOB_ID = "xctl.job.id"
POD, POD_NAMESPACE, POD_UID = "k8s.pod.name", "k8s.namespace.name", "k8s.pod.uid"
CONTAINER = "container.id"
# What ps and top show; process.executable.name would be the name of the file.
COMM = "process.title"
PID = "process.pid"
INTERFACE = "network.interface.name"
IO_DIRECTION = "network.io.direction"
ERROR_TYPE = "error.type"
STALL_DIRECTION, STALL_CAUSE = "xctl.stall.direction", "xctl.stall.cause"
STALL_PROBABLE = "xctl.stall.probable"
PEER_COMM, PEER_PID = "xctl.peer.process.title", "xctl.peer.process.pid"
PEER_STATE = "xctl.peer.process.state"
PRIORITY = "xctl.error.priority"
PACKET_KIND = "xctl.packet.kind"
PLACE = "xctl.probe.place"
SOURCE = "xctl.probe.source"

_IO_DIRECTIONS = {"receive": "receive", "send": "transmit"}
_OF_STALLS = frozenset((f.WAIT_SECONDS, f.WAITING_SOCKETS))
_OF_PACKETS = frozenset((f.INTERFACE_PACKETS, f.INTERFACE_PACKET_BYTES))
_LABELS = {
    "job_id": JOB_ID,
    "pod": POD,
    "pod_namespace": POD_NAMESPACE,
    "container": CONTAINER,
    "comm": COMM,
    "interface": INTERFACE,
    "cause": STALL_CAUSE,
    "peer_comm": PEER_COMM,
    "peer_state": PEER_STATE,
    "reason": ERROR_TYPE,
    "kind": ERROR_TYPE,
    "where": PLACE,
}


def attribute(family: f.Family, label: str, value: str) -> tuple[str, str | int | bool]:
    """Return the attribute of a label that has a value."""
    if label == "direction":
        if family in _OF_STALLS:
            return STALL_DIRECTION, value
        return IO_DIRECTION, _IO_DIRECTIONS[value]
    if label == "kind" and family in _OF_PACKETS:
        return PACKET_KIND, value
    if label == "probable":
        return STALL_PROBABLE, True
    if label == "priority":
        return PRIORITY, int(value)
    return _LABELS[label], value
