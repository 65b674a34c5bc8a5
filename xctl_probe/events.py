"""Events: the frozen values that every source emits; later stages know only these.

A source (the kernel programs or the sampler) is drained once an interval and yields events.  Times
are CLOCK_MONOTONIC in ns.  Counts are since the previous drain, never totals, so that a consumer of
events needs no state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from xctl_probe.figures import Reading


class Cause(StrEnum):
    """Most likely reason of a stall."""

    PEER_WINDOW = "peer_window"  # the receiver does not read: its window is closed
    SEND_BUFFER = "send_buffer"  # the local buffer is full; the path is slower than the sender
    LOSS = "loss"  # segments are retransmitted, or out-of-order data waits
    PACING = "pacing"  # the sender limits its own rate (SO_MAX_PACING_RATE)
    LOCAL_DROP = "local_drop"  # this host drops its own segments: firewall or full queue
    NO_REPLY = "no_reply"  # the request is delivered, the reply is outstanding
    KEEPALIVE = "keepalive"  # the host of the peer does not respond to keepalives
    CONNECTING = "connecting"  # the handshake has not finished


class Direction(StrEnum):
    """Operation that stalls."""

    SEND = "send"
    RECEIVE = "receive"
    CONNECT = "connect"


class PeerActivity(StrEnum):
    """What a process was seen to do while another waits for it."""

    FROZEN = "frozen"  # its cgroup is
    STOPPED = "stopped"  # by a signal or a debugger
    WAITING = "waiting"  # it is stalled itself
    DISK_SLEEP = "disk_sleep"  # a thread is in an uninterruptible sleep
    RUNNING = "running"  # a thread runs
    ELSEWHERE = "elsewhere"  # it has read all that was sent, and its threads sleep in other calls
    UNREAD = "unread"  # it has not read all that was sent, and nothing else was seen


class ErrorKind(StrEnum):
    """Kind of failure of a connection; the value is the word in the record."""

    RETRANSMIT = "RETRANSMIT"
    REFUSED = "CONNECT_REFUSED"
    TIMEOUT = "CONNECT_TIMEOUT"
    PROHIBITED = (
        "CONNECT_PROHIBITED"  # refused by the host of the peer or a router: EACCES and such
    )
    NO_PORT = "CONNECT_NO_PORT"  # no local port is left to this address: EADDRNOTAVAIL
    RESET = "RESET"
    ABORTED = "ABORTED"  # closed by the administrator of this host (ss -K): ECONNABORTED


@dataclass(frozen=True, slots=True)
class Process:
    """A process; the pid is that of the probe's own pid namespace.

    `start_ticks` is field 22 of /proc/<pid>/stat (clock ticks since boot): pid and start together
    identify a process, the pid alone does not.  `comm` may contain any bytes, decoded as UTF-8 with
    backslashreplace.
    """

    pid: int
    start_ticks: int
    comm: str


@dataclass(frozen=True, slots=True)
class Placement:
    """The job, the pod and the container of a process; None where unknown.

    `job_id` as the batch system writes it, or the uid of the pod.  `rank` is the number of the
    process in its job, `local_rank` that on this host.
    """

    job_id: str | None = None
    pod_uid: str | None = None
    pod: str | None = None
    pod_namespace: str | None = None
    container: str | None = None
    rank: int | None = None
    local_rank: int | None = None


@dataclass(frozen=True, slots=True)
class App:
    """The application protocol of a socket.

    `sni` and `alpn` are of TLS: the server that the client asks for, and what it offers.
    """

    name: str
    sni: str | None = None
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket: its identity and its addresses.

    `inode` is that of /proc/<pid>/fd; `cookie` is unique until the next boot.  Addresses are text,
    with v4-mapped IPv6 as IPv4; ports are in host order.  `interface` is the device of its packets,
    None where unknown.  `uid` and `cgroup` (the id of the cgroup) identify the owner where no
    process is visible.
    """

    inode: int
    cookie: int
    protocol: str  # "tcp" or "udp"
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    interface: str | None = None
    uid: int | None = None
    cgroup: int | None = None
    app: App | None = None  # where known, with --metrics protocols


@dataclass(frozen=True, slots=True)
class TrafficDelta:
    """Payload bytes of a process on an interface since the last drain.

    Owner and interface are None where unknown.  A source may emit the same pair more than once.
    `elapsed_ns`: where they are of a longer time than since the last drain.  `of_port`: the
    interface is an RDMA port, which the source leaves out where neither of its names is wanted.
    """

    owner: Process | None
    interface: str | None
    sent_bytes: int
    received_bytes: int
    elapsed_ns: int = 0
    of_port: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """A stall of a process on a socket.

    `duration_ns` is the time so far while the stall is ongoing, else the total.  `cause` is None
    where the evidence does not decide.  `peer` is the process that it waits for, where that is on
    this host; `peer_activity` is what that process was seen to do.  `probable`: it may be an
    expected wait.
    """

    owner: Process | None
    socket: Socket
    direction: Direction
    duration_ns: int
    ongoing: bool
    cause: Cause | None = None
    tid: int | None = None  # the blocked thread, where known
    peer: Process | None = None
    peer_activity: PeerActivity | None = None
    probable: bool = False


@dataclass(frozen=True, slots=True)
class SocketError:
    """`count` failures of one kind on a socket since the last drain.

    With `sockets` above 1 it is the sum over this many sockets of one process and one peer, and
    `socket` is the first of them.  A sum over several peers or processes has no owner, and of the
    socket only the uid.

    `duplicates`: retransmitted segments that the receiver reported to have got already (DSACK,
    RFC 2883): they were not lost.
    """

    owner: Process | None
    socket: Socket
    kind: ErrorKind
    count: int
    sockets: int = 1
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class InterfaceDelta:
    """Traffic, errors and drops of an interface since the last drain (bytes, packets)."""

    name: str
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


# Each packet is of one of the first five, and of as many of the others as apply.
PACKET_KINDS = ("tcp", "udp", "icmp", "icmpv6", "other", "ipv4", "ipv6", "fragments")


class Counted(NamedTuple):
    """Packets, and their bytes with all headers that the hook sees."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PacketCounts:
    """Packets of one interface by `PACKET_KINDS`, without those of which there were none."""

    rx: dict[str, Counted] = field(default_factory=dict)
    tx: dict[str, Counted] = field(default_factory=dict)

    def merge(self, later: PacketCounts) -> PacketCounts:
        """Return the sum of both."""
        return PacketCounts(_added(self.rx, later.rx), _added(self.tx, later.tx))


def _added(one: dict[str, Counted], other: dict[str, Counted]) -> dict[str, Counted]:
    none = Counted(0, 0)
    pairs = ((kind, one.get(kind, none), other.get(kind, none)) for kind in PACKET_KINDS)
    return {
        kind: Counted(a.packets + b.packets, a.bytes + b.bytes)
        for kind, a, b in pairs
        if a.packets + b.packets
    }


@dataclass(frozen=True, slots=True)
class PacketDelta:
    """Packets of an interface since the last drain."""

    interface: str
    counts: PacketCounts


@dataclass(frozen=True, slots=True)
class RdmaLink:
    """The link of an RDMA port, in the words of the kernel; empty where it gives none.

    `netdev` is the network interface of a RoCE or iWARP port.
    """

    layer: str  # "InfiniBand" or "Ethernet"
    rate: str  # "100 Gb/sec (4X EDR)"
    state: str  # "ACTIVE"
    netdev: str | None


@dataclass(frozen=True, slots=True)
class RdmaPortDelta:
    """What an RDMA port moved in `elapsed_ns`, since its counters were read before (bytes).

    `xmit_wait`: ticks in which data waited for credit; a tick has no fixed length.  None where
    the device does not count them.
    """

    name: str  # of the device, with /<port> where it has several
    link: RdmaLink
    rx_bytes: int
    tx_bytes: int
    elapsed_ns: int
    xmit_wait: int | None = None


class PortErrorKind(StrEnum):
    """What an RDMA port, or the interface of a RoCE port, counts; the value is the word."""

    RETRY = "RDMA_RETRY"  # packets sent again
    TIMEOUT = "RDMA_TIMEOUT"  # no acknowledgement came in time
    RETRY_EXCEEDED = "RDMA_RETRY_EXCEEDED"  # a queue pair gave up
    SEQUENCE = "RDMA_SEQ_ERR"  # a packet is missing
    DUPLICATE = "RDMA_DUPLICATE"  # the peer sent again
    OUT_OF_BUFFER = "RDMA_OUT_OF_BUFFER"  # a process of this host has posted no receive
    RNR = "RDMA_RNR"  # the peer's process has posted no receive
    REQUEST = "RDMA_REQUEST_ERR"  # a request that was refused, here or there
    IMPAIRED = "RDMA_IMPAIRED"  # EFA lowered the rate of a connection
    CNP = "CNP"  # congestion notifications that slow this sender down
    CNP_SENT = "CNP_SENT"  # congestion notifications to senders
    ECN = "ECN"  # packets that arrived marked: the path is congested
    DISCARD = "PORT_DISCARD"
    PORT = "PORT_ERR"
    SYMBOL = "SYMBOL_ERR"
    LINK = "LINK_ERR"
    PFC_PAUSE = "PFC_PAUSE"  # the peer paused one priority of ours
    PFC_PAUSE_SENT = "PFC_PAUSE_SENT"
    PAUSE = "PAUSE"  # the peer paused the whole link
    PAUSE_SENT = "PAUSE_SENT"
    PAUSE_STORM = "PAUSE_STORM"  # this host paused its peer for too long


@dataclass(frozen=True, slots=True)
class PortErrors:
    """What a port counted of one kind since the last drain.

    `counters` are those of the driver that grew, by their names there.  `owner` is the process that
    alone used the port, None where there is another or where that is not known.
    """

    name: str
    kind: PortErrorKind
    count: int
    counters: tuple[tuple[str, int], ...]
    priority: int | None = None  # of Ethernet, 0 to 7
    owner: Process | None = None

    def of(self, owner: Process | None) -> PortErrors:
        """The same with an owner; replace() of dataclasses takes five times as long."""
        return PortErrors(self.name, self.kind, self.count, self.counters, self.priority, owner)


@dataclass(frozen=True, slots=True)
class QueuePairErrors:
    """`count` queue pairs of one process on one port that have come into an error state.

    `number` is the lowest of theirs, and `peer`, `type` and `state` are its own.  Without an
    owner it is the kernel's (`kernel_name`), or that of a process that is not visible.
    """

    owner: Process | None
    port: str  # as RdmaPortDelta.name
    count: int
    number: int
    peer: int | None  # its number on the peer's host
    type: str  # "RC"
    state: str  # "ERR" or "SQE"
    kernel_name: str | None = None


class State(StrEnum):
    """What became of a process; the value is the word in the record."""

    START = "start"
    CONNECTED = "connected"
    EXIT = "exit"


class Connection(NamedTuple):
    """A TCP connection; both addresses with their ports, as `10.0.0.7:5432` or `[fe80::1]:22`."""

    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process of a job that began to use the network, holds connections, or has exited.

    Where `state` is `CONNECTED`, `connections` are some or all of those that it holds, and
    `activity` is what its threads were seen to do, None where they all sleep.
    """

    owner: Process
    placement: Placement
    state: State
    connections: tuple[Connection, ...] = ()
    activity: PeerActivity | None = None


@dataclass(frozen=True, slots=True)
class ProcessLoad:
    """CPU time of a process in `elapsed_ns`, of all its threads, and its resident memory.

    `memory_bytes` is all memory of the host.
    """

    owner: Process
    cpu_ns: int
    elapsed_ns: int
    resident_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class DroppedEvents:
    """Events that the source or the writer dropped, by place.

    `uid` is the user of the processes concerned, where known.
    """

    where: str
    count: int
    uid: int | None = None


Event = (
    TrafficDelta
    | Stall
    | SocketError
    | InterfaceDelta
    | PacketDelta
    | RdmaPortDelta
    | PortErrors
    | QueuePairErrors
    | ProcessState
    | ProcessLoad
    | DroppedEvents
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one drain, and the time when its counters were read (monotonic, ns).

    `since_ns`: since when the bytes of processes count, None: since the last drain.  `has_bytes` is
    False for a source that knows none.
    """

    taken_ns: int
    events: list[Event] = field(default_factory=list)
    since_ns: int | None = None
    has_bytes: bool = True


class Source(Protocol):
    """Source of events: the kernel programs, or the sampler."""

    name: str

    @property
    def description(self) -> str:
        """Text for the start line: what the source observes."""

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when `poll` has work, or None."""

    def poll(self, now_ns: int) -> int:
        """Run the work between two drains; return the time of the next call (monotonic, ns)."""

    def drain(self, now_ns: int) -> Batch:
        """Return the events since the last drain."""

    def figures(self) -> Reading:
        """Read the figures of the source itself, in pieces of a millisecond at most."""

    def close(self) -> None:
        """Close descriptors and detach everything.  Safe to call twice."""
