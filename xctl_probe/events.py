"""The few frozen values that sources hand over: everything downstream knows only these.

A source (the kernel programs or the sampler) is drained once an interval and yields facts.
All times are CLOCK_MONOTONIC nanoseconds; all counts are what happened since the previous
drain, never running totals, so that a consumer of facts needs no memory of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Cause(StrEnum):
    """Why a process waits, as far as the source can tell."""

    PEER_WINDOW = "peer_window"  # the receiver does not read: its window is closed
    SEND_BUFFER = "send_buffer"  # our own buffer is full; the path is slower than the sender
    LOSS = "loss"  # segments are being retransmitted, or a hole waits to be filled
    PACING = "pacing"  # the sender asked the kernel to hold it back (SO_MAX_PACING_RATE)
    LOCAL_DROP = "local_drop"  # this host drops what it sends: its firewall, or a full queue
    NO_REPLY = "no_reply"  # the request was delivered, the answer is outstanding
    KEEPALIVE = "keepalive"  # the peer's host answers no keepalive
    CONNECTING = "connecting"  # the handshake has not finished


class Direction(StrEnum):
    """What the process was trying to do when it stalled."""

    SEND = "send"
    RECEIVE = "receive"
    CONNECT = "connect"


class ErrorKind(StrEnum):
    """What went wrong on a connection; the value is the word in the record."""

    RETRANSMIT = "RETRANSMIT"
    REFUSED = "CONNECT_REFUSED"
    TIMEOUT = "CONNECT_TIMEOUT"
    PROHIBITED = "CONNECT_PROHIBITED"  # the peer's host, or a router, forbids it: EACCES and such
    NO_PORT = "CONNECT_NO_PORT"  # no local port is left to this address: EADDRNOTAVAIL
    RESET = "RESET"
    ABORTED = "ABORTED"  # this host's administrator ended it (ss -K): ECONNABORTED


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the probe's own pid namespace numbers it.

    `start_ticks` is field 22 of /proc/<pid>/stat (clock ticks since boot): pid and start
    together are an identity, the pid alone is not.  `comm` may hold any bytes the process
    chose, decoded as UTF-8 with backslashreplace.
    """

    pid: int
    start_ticks: int
    comm: str


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket, with what identifies it and what a person wants to read about it.

    `inode` is what /proc/<pid>/fd shows; `cookie` is unique for the life of the host.
    Addresses are text, v4-mapped IPv6 already turned into IPv4; ports are host order.
    `interface` is the device its packets take, None where that is not known.
    `uid` and `cgroup` (the cgroup's id) say whose it is when no process is visible.
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


@dataclass(frozen=True, slots=True)
class TrafficDelta:
    """Payload bytes that a process moved through an interface since the last drain.

    None where the owner or the interface is not known.  A source may tell of the same two more
    than once.
    """

    owner: Process | None
    interface: str | None
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class Stall:
    """A process wanted the network and the network did not deliver.

    `duration_ns` is the total when it has ended, the time so far while it is ongoing.
    `cause` is None where the source cannot tell.
    """

    owner: Process | None
    socket: Socket
    direction: Direction
    duration_ns: int
    ongoing: bool
    cause: Cause | None = None
    tid: int | None = None  # the blocked thread, where one is known


@dataclass(frozen=True, slots=True)
class SocketError:
    """`count` failures of one kind on a socket since the last drain.

    With `sockets` above 1 it is the sum of so many of one process and one peer, and `socket` is the
    first of them.  A sum over several peers or processes has no owner, and a socket with nothing
    but its uid.
    """

    owner: Process | None
    socket: Socket
    kind: ErrorKind
    count: int
    sockets: int = 1


@dataclass(frozen=True, slots=True)
class InterfaceDelta:
    """What an interface moved and lost since the last drain (bytes, packets)."""

    name: str
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


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

    `counters` are those of the driver that grew, by their names there.
    """

    name: str
    kind: PortErrorKind
    count: int
    counters: tuple[tuple[str, int], ...]
    priority: int | None = None  # of Ethernet, 0 to 7


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


@dataclass(frozen=True, slots=True)
class DroppedEvents:
    """Facts that the source or the writer had to drop, by the place that dropped them.

    `uid`: of the user whose processes they are about, where that is known.
    """

    where: str
    count: int
    uid: int | None = None


Event = (
    TrafficDelta
    | Stall
    | SocketError
    | InterfaceDelta
    | RdmaPortDelta
    | PortErrors
    | QueuePairErrors
    | DroppedEvents
)


@dataclass(frozen=True, slots=True)
class Batch:
    """All facts of one drain, with the moment that its counters were read (monotonic ns)."""

    taken_ns: int
    events: list[Event] = field(default_factory=list)


class Source(Protocol):
    """A place that facts come from: the kernel programs, or the sampler."""

    name: str

    @property
    def description(self) -> str:
        """What it shows and what not, for the line at start."""

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when `poll` has work, or None."""

    def poll(self, now_ns: int) -> int:
        """Do the work between two drains; return when to be called next (monotonic ns)."""

    def drain(self, now_ns: int) -> Batch:
        """Everything since the last drain."""

    def close(self) -> None:
        """Give back descriptors; nothing stays attached.  Safe to call twice."""
