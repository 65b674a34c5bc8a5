"""Records of an interval: numbers and enums, which an exporter renders.

Times are in ns, sizes in bytes, `ts_ms` is in ms since the Unix epoch.  docs/records.md has their
form in NDJSON.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from xctl_probe.events import (
    DroppedEvents,
    PacketCounts,
    Placement,
    PortErrors,
    Process,
    ProcessLoad,
    ProcessState,
    QueuePairErrors,
    RdmaLink,
    SocketError,
    Stall,
)

UNKNOWN_INTERFACE = "unknown"

_BITS_NS_TO_MBPS = 8_000.0  # bytes per ns to megabits per second


@dataclass(frozen=True, slots=True)
class BandwidthRecord:
    """Traffic of an interface, in total (`owner` None) or of one process.

    Records that wait for a slow reader are merged, so the bytes and the time stay apart.
    `unattributed_bytes`: what no visible process accounts for.  An RDMA port has a `link`, and
    `xmit_wait` where its device counts that.  `placement` is that of the owner.  `packets`:
    those of an interface, where they are counted.
    """

    ts_ms: int
    interface: str
    owner: Process | None
    rx_bytes: int
    tx_bytes: int
    elapsed_ns: int
    unattributed_bytes: int | None = None
    link: RdmaLink | None = None
    xmit_wait: int | None = None
    placement: Placement | None = None
    packets: PacketCounts | None = None

    @property
    def mbps(self) -> float:
        """Sum of both directions."""
        return _mbps(self.rx_bytes + self.tx_bytes, self.elapsed_ns)

    @property
    def rx_mbps(self) -> float:
        """Received Mbps."""
        return _mbps(self.rx_bytes, self.elapsed_ns)

    @property
    def tx_mbps(self) -> float:
        """Sent Mbps."""
        return _mbps(self.tx_bytes, self.elapsed_ns)

    def merge(self, later: BandwidthRecord) -> BandwidthRecord:
        """Return this record and the next one of the same interface and process as one."""
        unattributed = self.unattributed_bytes
        if unattributed is not None:
            unattributed += later.unattributed_bytes or 0
        xmit_wait = self.xmit_wait
        if xmit_wait is not None:
            xmit_wait += later.xmit_wait or 0
        packets = later.packets
        if self.packets is not None:
            packets = self.packets.merge(packets or PacketCounts())
        return replace(
            later,
            rx_bytes=self.rx_bytes + later.rx_bytes,
            tx_bytes=self.tx_bytes + later.tx_bytes,
            elapsed_ns=self.elapsed_ns + later.elapsed_ns,
            unattributed_bytes=unattributed,
            xmit_wait=xmit_wait,
            packets=packets,
        )


@dataclass(frozen=True, slots=True)
class StallRecord:
    """A stall of a process, ongoing or over."""

    ts_ms: int
    stall: Stall
    placement: Placement | None = None  # of the owner

    @property
    def owner(self) -> Process | None:
        """The process that waits."""
        return self.stall.owner


class InterfaceFailure(StrEnum):
    """Kind of packets that an interface did not pass on."""

    ERRORS = "ERR"
    DROPS = "DROP"


@dataclass(frozen=True, slots=True)
class InterfaceErrors:
    """Packets that an interface failed to receive or send in the interval: not both 0."""

    interface: str
    kind: InterfaceFailure
    rx: int
    tx: int


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """Failures of a connection, of an interface, of a port, or of the probe itself."""

    ts_ms: int
    error: SocketError | InterfaceErrors | PortErrors | QueuePairErrors | DroppedEvents
    placement: Placement | None = None  # of the owner

    @property
    def owner(self) -> Process | None:
        """The process that failed; None where the socket has no inode."""
        error = self.error
        if isinstance(error, (PortErrors, QueuePairErrors)):
            return error.owner
        return error.owner if isinstance(error, SocketError) and error.socket.inode else None


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process of a job that began to use the network, or that has exited."""

    ts_ms: int
    state: ProcessState

    @property
    def owner(self) -> Process:
        """The process."""
        return self.state.owner

    @property
    def placement(self) -> Placement:
        """Its job, which is always known."""
        return self.state.placement


@dataclass(frozen=True, slots=True)
class CpuRecord:
    """CPU of a process, in percent of one core."""

    ts_ms: int
    load: ProcessLoad
    placement: Placement | None = None

    @property
    def owner(self) -> Process:
        """The process."""
        return self.load.owner

    @property
    def percent(self) -> float:
        """Above 100 where several threads run at the same time."""
        return _percent(self.load.cpu_ns, self.load.elapsed_ns)

    def merge(self, later: CpuRecord) -> CpuRecord:
        """Return this record and the next one of the same process as one."""
        cpu_ns = self.load.cpu_ns + later.load.cpu_ns
        elapsed_ns = self.load.elapsed_ns + later.load.elapsed_ns
        return replace(later, load=replace(later.load, cpu_ns=cpu_ns, elapsed_ns=elapsed_ns))


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """Resident memory of a process, in percent of the host's."""

    ts_ms: int
    load: ProcessLoad
    placement: Placement | None = None

    @property
    def owner(self) -> Process:
        """The process."""
        return self.load.owner

    @property
    def percent(self) -> float:
        """Resident memory, shared pages included."""
        return _percent(self.load.resident_bytes, self.load.memory_bytes)


Record = BandwidthRecord | StallRecord | ErrorRecord | ProcessRecord | CpuRecord | MemoryRecord


def is_probable(record: Record) -> bool:
    """Return whether a record is of a stall that may be an expected wait."""
    return isinstance(record, StallRecord) and record.stall.probable


def _percent(part: int, whole: int) -> float:
    return part * 100 / whole if whole > 0 else 0.0


def _mbps(count: int, elapsed_ns: int) -> float:
    return count * _BITS_NS_TO_MBPS / elapsed_ns if elapsed_ns > 0 else 0.0
