"""The metric families: name, type, unit, labels and source of each, declared once.

Names follow https://prometheus.io/docs/practices/naming: base units, `_total` for counters.
docs/prometheus.md has the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "xctl_net_"
# Labels of a process, in this order; a label without a value is left out.
OWNER = ("job_id", "pod", "pod_namespace", "container", "comm", "pid")
OTHER = "other"  # value of the labels of what finds no room
# Values that anybody may make up; those of all further labels are words of the probe.
_OPEN = frozenset(("interface", "peer_comm"))
# The places of `net.where`.  They begin at 0: Prometheus does not see the first step of a counter
# that begins later.
DROPPED_AT = (
    "ring", "socket", "process", "endpoint", "call", "missed_probe_runs", "invalid_events",
    "event_queue_full", "closed_queue_full", "closing", "waits", "stalls", "processes", "sock_diag",
    "source", "interfaces", "rdma", "connections", "loads", "protocols", "stdout", "recording",
    "prometheus", "prometheus_file", "otlp",
)  # fmt: skip


class Kind(StrEnum):
    """Type of a metric; the value is the word after `# TYPE`."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric family.

    `name` is without the prefix, and without `_total` of a counter.  `owned`: it has the labels of
    a process before its own `labels`.  Values in seconds are kept in ns, so that sums are exact.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    owned: bool = False
    unit: str | None = None

    @property
    def full_name(self) -> str:
        """Name of the family in OpenMetrics."""
        return PREFIX + self.name

    @property
    def sample_name(self) -> str:
        """Name of its samples, and of the family in the text format."""
        return self.full_name + ("_total" if self.kind is Kind.COUNTER else "")

    @property
    def is_ns(self) -> bool:
        """True where the kept values are ns."""
        return self.unit == "seconds"

    def without_open(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """Return label values with `other` for those that anybody may make up."""
        pairs = zip(self.labels, values, strict=True)
        return tuple(OTHER if name in _OPEN and value else value for name, value in pairs)


_WAIT_LABELS = ("interface", "direction", "cause", "peer_comm", "peer_state", "probable")

PROCESS_BYTES = Family(
    "process_bytes",
    Kind.COUNTER,
    "Payload bytes that processes sent and received.",
    ("interface", "direction"),
    owned=True,
    unit="bytes",
)
WAIT_SECONDS = Family(
    "wait_seconds",
    Kind.COUNTER,
    "Time that processes waited on sockets, by cause and by the process that they waited for.",
    _WAIT_LABELS,
    owned=True,
    unit="seconds",
)
WAITING_SOCKETS = Family(
    "waiting_sockets",
    Kind.GAUGE,
    "Sockets on which processes waited at the end of the last interval.",
    _WAIT_LABELS,
    owned=True,
)
PROCESS_CPU_SECONDS = Family(
    "process_cpu_seconds",
    Kind.COUNTER,
    "CPU time of processes that use the network, with --metrics process.",
    owned=True,
    unit="seconds",
)
PROCESS_MEMORY_BYTES = Family(
    "process_resident_memory_bytes",
    Kind.GAUGE,
    "Resident memory of these processes, as last read.",
    owned=True,
    unit="bytes",
)
RETRANSMITS = Family(
    "retransmits",
    Kind.COUNTER,
    "Segments that this host sent again.",
    ("interface",),
    owned=True,
)
DUPLICATES = Family(
    "retransmit_duplicates",
    Kind.COUNTER,
    "Segments sent again that the receiver reports to have got already.",
    ("interface",),
    owned=True,
)
CONNECT_FAILURES = Family(
    "connect_failures",
    Kind.COUNTER,
    "Connects that failed.",
    ("interface", "reason"),
    owned=True,
)
RESETS = Family(
    "connection_resets",
    Kind.COUNTER,
    "Connections that the peer or the path reset.",
    ("interface",),
    owned=True,
)
ABORTS = Family(
    "connection_aborts",
    Kind.COUNTER,
    "Connections that this host aborted.",
    ("interface",),
    owned=True,
)
INTERFACE_BYTES = Family(
    "interface_bytes",
    Kind.COUNTER,
    "Bytes of an interface, by its own counters, with headers.",
    ("interface", "direction"),
    unit="bytes",
)
INTERFACE_PACKETS = Family(
    "interface_packets",
    Kind.COUNTER,
    "Packets of an interface by protocol, with --metrics packets.",
    ("interface", "direction", "kind"),
)
INTERFACE_PACKET_BYTES = Family(
    "interface_packet_bytes",
    Kind.COUNTER,
    "Bytes of these packets.",
    ("interface", "direction", "kind"),
    unit="bytes",
)
UNATTRIBUTED_BYTES = Family(
    "interface_unattributed_bytes",
    Kind.COUNTER,
    "Payload bytes of sockets without a visible process, in both directions.",
    ("interface",),
    unit="bytes",
)
INTERFACE_ERRORS = Family(
    "interface_errors",
    Kind.COUNTER,
    "Packets with errors.",
    ("interface", "direction"),
)
INTERFACE_DROPS = Family(
    "interface_drops",
    Kind.COUNTER,
    "Packets that the interface dropped.",
    ("interface", "direction"),
)
RDMA_PORT_BYTES = Family(
    "rdma_port_bytes",
    Kind.COUNTER,
    "Bytes of an RDMA port, by its own counters.",
    ("interface", "direction"),
    unit="bytes",
)
XMIT_WAIT = Family(
    "rdma_port_xmit_wait_ticks",
    Kind.COUNTER,
    "Ticks in which data of an RDMA port waited for credit.",
    ("interface",),
)
PORT_ERRORS = Family(
    "port_errors",
    Kind.COUNTER,
    "What an RDMA port or the interface of a RoCE port counts, by the word of the record.",
    ("interface", "kind", "priority"),
    owned=True,
)
QUEUE_PAIR_ERRORS = Family(
    "queue_pair_errors",
    Kind.COUNTER,
    "Queue pairs that came into an error state.",
    ("interface",),
    owned=True,
)
LOST_EVENTS = Family(
    "probe_lost_events",
    Kind.COUNTER,
    "Events and records that the probe dropped.",
    ("where",),
)
INTERVALS = Family(
    "probe_intervals",
    Kind.COUNTER,
    "Intervals since the probe started.",
)
LAST_INTERVAL = Family(
    "probe_last_interval_timestamp_seconds",
    Kind.GAUGE,
    "When the last interval was over, or the probe began, since the Unix epoch.",
    unit="seconds",
)
INTERVAL = Family(
    "probe_interval_seconds",
    Kind.GAUGE,
    "Length of an interval that the probe was asked for.",
    unit="seconds",
)
INFO = Family(
    "probe_info",
    Kind.GAUGE,
    "1, with the version and the source of the probe.",
    ("version", "source"),
)
SERIES = Family(
    "probe_series",
    Kind.GAUGE,
    "Series that are kept.",
)
SERIES_LIMIT = Family(
    "probe_series_limit",
    Kind.GAUGE,
    "Most series that are kept, without those of the group other.",
)
OTHER_RECORDS = Family(
    "probe_other_records",
    Kind.COUNTER,
    "Records that were added to the group other, because there was no room for a series.",
)
CPU_SECONDS = Family(
    "probe_cpu_seconds",
    Kind.COUNTER,
    "CPU time of the probe.",
    unit="seconds",
)
MEMORY_BYTES = Family(
    "probe_resident_memory_bytes",
    Kind.GAUGE,
    "Resident memory of the probe.",
    unit="bytes",
)

FAMILIES = (
    PROCESS_BYTES, WAIT_SECONDS, WAITING_SOCKETS, PROCESS_CPU_SECONDS, PROCESS_MEMORY_BYTES,
    RETRANSMITS, DUPLICATES, CONNECT_FAILURES, RESETS,
    ABORTS, INTERFACE_BYTES, INTERFACE_PACKETS, INTERFACE_PACKET_BYTES, UNATTRIBUTED_BYTES,
    INTERFACE_ERRORS, INTERFACE_DROPS, RDMA_PORT_BYTES,
    XMIT_WAIT, PORT_ERRORS, QUEUE_PAIR_ERRORS, LOST_EVENTS, INTERVALS, LAST_INTERVAL, INTERVAL,
    INFO, SERIES, SERIES_LIMIT, OTHER_RECORDS, CPU_SECONDS, MEMORY_BYTES,
)  # fmt: skip
