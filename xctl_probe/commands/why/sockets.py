"""Values of the sockets of one process, which the samplers fill in."""

from __future__ import annotations

from dataclasses import dataclass

from xctl_probe.events import Cause
from xctl_probe.fallback.sock_diag import (
    CLOSE,
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    LISTEN,
    SYN_SENT,
)

STATES = {
    ESTABLISHED: "ESTABLISHED", SYN_SENT: "SYN_SENT", 3: "SYN_RECV", FIN_WAIT1: "FIN_WAIT1",
    FIN_WAIT2: "FIN_WAIT2", 6: "TIME_WAIT", CLOSE: "CLOSE", CLOSE_WAIT: "CLOSE_WAIT",
    LAST_ACK: "LAST_ACK", LISTEN: "LISTEN", CLOSING: "CLOSING",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer socket, where it is on this host and readable."""

    unread_bytes: int
    pid: int | None
    comm: str | None
    stopped: bool  # by a signal, a debugger or its cgroup
    listens: bool = False  # it has read everything, and waits for more, or may
    is_elsewhere: bool = False  # it has read everything, and no thread of it waits for more
    frozen: bool = False  # its cgroup is
    waits_for: str | None = None  # of one that listens: address of what it waits for itself
    computes: bool = False  # of one that listens: other threads do


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP socket at the second sample.  None: unknown, or it never happened.

    Queues in bytes; of a listener, `receive_queue` is the number of connections that wait for
    accept(), and `send_queue` is their limit.  Times in ms before the sample.
    """

    fd: int
    inode: int
    state: str
    local: str
    remote: str
    receive_queue: int
    send_queue: int
    opened: bool | None  # by this side
    moved: bool  # between the samples
    probing: bool  # data waits and none is in flight: the kernel sends probes of the window
    retransmits: int  # of the head of the queue, or of the SYN
    next_try_ms: int | None
    not_sent_bytes: int | None = None
    unacked_segments: int | None = None
    last_send_ms: int | None = None
    last_receive_ms: int | None = None
    rtt_ms: float | None = None
    rto_ms: float | None = None
    retransmits_ever: int | None = None
    backoff: int | None = None
    peer_window_bytes: int | None = None
    window_share: float | None = None  # share of the time that the peer's window blocked sends
    unanswered_ms: float | None = None  # since the first transmission of the retransmitted segment
    full_ms: float | None = None  # since the send buffer is full
    send_cause: Cause | None = None  # why what is in the send buffer stays there
    reply_ms: float | None = None  # since a reply is outstanding
    hole_ms: float | None = None  # since out-of-order data waits for missing data
    answered_before: bool = False
    unanswered_keepalives: int = 0
    heard_ms: int | None = None  # since the peer's host last sent anything
    peer: Peer | None = None

    @property
    def listening(self) -> bool:
        """True for a listener."""
        return self.state == STATES[LISTEN]

    @property
    def window_closed(self) -> bool:
        """True when data waits, and the window of the peer is closed."""
        return self.send_cause is Cause.PEER_WINDOW


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP socket.  Queues in bytes of kernel memory; `drops` is the total of dropped datagrams.

    `chosen_port`: the kernel chose it (net.ipv4.ip_local_port_range), as it does for clients.
    """

    fd: int
    inode: int
    local: str
    remote: str | None  # None when it is not connected
    receive_queue: int
    send_queue: int
    drops: int
    chosen_port: bool = False
