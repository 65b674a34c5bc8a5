"""One TCP connection as a whole, for the rules of the stall detector.

Such an object exists only while its connection may wait; its state from sample to sample is a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xctl_probe.events import Cause, Direction, Process, Socket, Stall
from xctl_probe.fallback.message_arrays import NO_CGROUP
from xctl_probe.fallback.peers import NEVER, Answers
from xctl_probe.fallback.row import NOT_READ, UNSET, history_of
from xctl_probe.fallback.sock_diag import (
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    SYN_SENT,
    TcpSample,
)
from xctl_probe.linux.addresses import InterfaceByAddress
from xctl_probe.stalls.policy import is_silent, is_transfer
from xctl_probe.stalls.request_history import RequestHistory, Usual

# So many more segments with data, and so few bytes in each, are messages of which not every one
# has a reply: three sent for two received.
_MANY_SEGMENTS, _MESSAGE_BYTES = 8, 1_000
_TIMES = ("pending_ns", "full_ns", "hole_ns", "keepalive_ns")
_NUMBERS = ("first_sample_ns", "sent_ns", "wrote_ns", "received_ns", "flow_begin_ns", "flow_bytes",
            "habit", "ask_ns")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait of a process on a connection: direction, begin (monotonic, ns) and cause.

    `probable`: see `ReplyStall`.  `reported`: the process in the last line about it.
    """

    direction: Direction
    since_ns: int
    cause: Cause | None
    tid: int | None = None
    probable: bool = False
    reported: Process | None = field(default=None, compare=False)


@dataclass(slots=True, eq=False)
class Connection:
    """One TCP connection at one sample.

    `peer_history` is the request/reply history of its user with the remote address and port, over
    all connections.  Times are monotonic, in ns; `row.ROW` describes them.
    """

    socket: Socket
    sample: TcpSample
    opened: bool
    history: RequestHistory
    peer_history: RequestHistory
    first_sample_ns: int
    sent_ns: int
    wrote_ns: int
    received_ns: int
    pending_ns: int | None
    full_ns: int | None
    hole_ns: int | None
    keepalive_ns: int | None
    held_by_window: bool
    flow_begin_ns: int
    flow_bytes: int
    habit: int
    ask_ns: int
    listened: bool | None
    answers: Answers = NEVER  # of the peer, on other connections
    wait: Wait | None = None  # the ongoing stall
    ended: list[Stall] = field(default_factory=list)

    @property
    def transfers(self) -> bool:
        """True from when a sustained transfer to this side has begun until it is over."""
        return self.flow_begin_ns != 0 and is_transfer(
            self.received_ns - self.flow_begin_ns, self.sample.received_payload - self.flow_bytes
        )

    @property
    def host_silent_ns(self) -> int | None:
        """Since when the peer's host answers no keepalive; None where it may have."""
        return self.keepalive_ns if is_silent(self.sample.unanswered_keepalives) else None

    @property
    def usual(self) -> Usual:
        """Usual latency of replies, on this connection and from this peer."""
        return Usual(self.history, self.peer_history)

    @property
    def is_one_sided(self) -> bool:
        """True where the process sends many more messages than it gets.

        Samples show some of the turns only: of such messages, they do not show which had a reply.
        """
        info = self.sample.info
        sent, got = info.data_segs_out, info.data_segs_in
        many = sent > got + _MANY_SEGMENTS and 2 * sent > 3 * got
        return many and self.sample.sent_payload < sent * _MESSAGE_BYTES

    @property
    def above_writeable_threshold(self) -> bool:
        """True while the kernel does not wake a sender (sk_stream_is_writeable)."""
        return self.sample.wmem_queued * 3 > self.sample.sndbuf * 2


def connection_of(
    row: np.void,
    sample: TcpSample,
    socket: Socket,
    peer: RequestHistory | None,
    answers: Answers = NEVER,
) -> Connection:
    """Return the connection of a row, with its last sample."""
    known: dict[str, Any] = {name: int(row[name]) for name in _NUMBERS}
    known |= {name: None if row[name] == UNSET else int(row[name]) for name in _TIMES}
    return Connection(
        socket, sample, bool(row["opened"]), history_of(row), peer or RequestHistory(),
        held_by_window=bool(row["held_by_window"]),
        listened=None if row["listened"] == NOT_READ else bool(row["listened"]),
        answers=answers,
        **known,
    )  # fmt: skip


def keep(row: np.void, connection: Connection) -> None:
    """Set in the row what the rules have changed."""
    for name in ("first_sample_ns", "flow_begin_ns", "ask_ns"):
        row[name] = getattr(connection, name)
    row["listened"] = NOT_READ if connection.listened is None else connection.listened


def socket_of(row: np.void, sample: TcpSample, interfaces: InterfaceByAddress) -> Socket:
    """Return the event's socket.

    Inode, uid and cgroup are those of the row: a socket without a process has none any more.
    """
    return Socket(
        int(row["inode"]), int(row["cookie"]), "tcp",
        sample.local_address, sample.local_port, sample.remote_address, sample.remote_port,
        interfaces.of(sample.local_address, sample.remote_address, sample.bound_ifindex),
        int(row["uid"]), None if row["cgroup"] == NO_CGROUP else int(row["cgroup"]),
    )  # fmt: skip


def waits_to_connect(connection: Connection) -> bool:
    """True during the handshake of a connection that the process opened.

    Before the SYN is sent, none waits: the first send does that (TCP_FASTOPEN_CONNECT, tcp(7)).
    """
    return connection.sample.state == SYN_SENT and connection.sample.info.unacked > 0


def may_receive(connection: Connection) -> bool:
    """True while data can still arrive on a connection that the process opened."""
    return connection.opened and connection.sample.state in (ESTABLISHED, FIN_WAIT1, FIN_WAIT2)
