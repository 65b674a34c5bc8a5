"""A connection on which nothing waits, kept in 500 bytes instead of 2,000.

Most sockets of a host are idle most of the time.  Of each is kept what a message of it would
have to differ in, and what is remembered between two samples, packed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xctl_probe.events import Socket
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.sock_diag import ChangeDetector, Counters, TcpSample
from xctl_probe.linux.addresses import InterfaceByAddress
from xctl_probe.stalls.request_history import RequestHistory

_NO_CGROUP = (1 << 64) - 1
# The memory has three parts.  What a look changes, of Connection: opened, tied, held_by_window,
# sent_ns, wrote_ns, received_ns, flow_begin_ns, flow_bytes, dialogue.answered, retransmits,
# socket.inode, and its mark
_LOOK = "3?4qQIIQ" + "B4QI2Q"
LOOK = struct.Struct("=" + _LOOK)
# What an interval changes: sent, received
_INTERVAL = "2Q"
INTERVAL, INTERVAL_AT = struct.Struct("=" + _INTERVAL), LOOK.size
# What stays: socket.uid, socket.cgroup, dialogue.unanswered, met_ns, habit, dialogue.long_waits
_MEMORY = struct.Struct("=" + _LOOK + _INTERVAL + "IQIqBI")
# What is told at an interval's end: inode, the mark's sent_payload and received_payload; then
# what an interval changes
ACCOUNT, ACCOUNT_AT = struct.Struct("=Q37x2Q" + _INTERVAL), struct.calcsize("=3?4qQII")
_INODE_AND_UID = struct.Struct("=Q69xI")


@dataclass(slots=True, eq=False)
class IdleConnection:
    """What is left of a quiet connection.

    `generation` says when the kernel last showed it; `memory` is laid out as above.  The rest is
    the connection's.
    """

    generation: int
    detector: ChangeDetector
    fingerprint: bytes
    timer_retries: int  # while nothing is on its way: keepalives that go unanswered
    memory: bytearray
    peer_history: RequestHistory
    interface: str | None
    failed_lookups: int
    routing: int = 0  # which state of the host's routing `interface` is of


def pack(connection: Connection, fingerprint: bytes) -> IdleConnection | None:
    """Pack a connection that is quiet and has nothing to report; None where that is impossible."""
    socket, dialogue = connection.socket, connection.history
    try:
        memory = _MEMORY.pack(
            connection.opened, connection.order_ambiguous, connection.held_by_window,
            connection.sent_ns, connection.wrote_ns, connection.received_ns,
            connection.flow_begin_ns, connection.flow_bytes,
            dialogue.answered, connection.retransmits, socket.inode, *connection.counters,
            connection.sent, connection.received,
            socket.uid or 0, _NO_CGROUP if socket.cgroup is None else socket.cgroup,
            dialogue.unanswered, connection.first_sample_ns, connection.habit, dialogue.long_waits,
        )  # fmt: skip
    except struct.error:  # counts that no kernel has
        return None
    return IdleConnection(
        connection.generation, connection.detector, fingerprint,
        connection.sample.timer_retries, bytearray(memory),
        connection.peer_history,
        socket.interface, connection.failed_lookups,
    )  # fmt: skip


def unpack(idle: IdleConnection, sample: TcpSample, interfaces: InterfaceByAddress) -> Connection:
    """The connection as it was, with the sample that woke it: not yet observed."""
    (
        opened, tied, held_by_window, sent_ns, wrote_ns, received_ns, flow_begin_ns, flow_bytes,
        answered, retransmits, inode, *mark,
        sent, received, uid, cgroup, unanswered, met_ns, habit, long_waits,
    ) = _MEMORY.unpack(idle.memory)  # fmt: skip
    # Who held it is remembered: a socket without a process any more has no inode and no uid.
    socket = socket_of(sample, interfaces, inode, uid, None if cgroup == _NO_CGROUP else cgroup)
    return Connection(
        socket, sample, idle.detector, idle.fingerprint, opened, idle.peer_history, met_ns,
        Counters._make(mark), sent=sent, received=received, retransmits=retransmits,
        generation=idle.generation, order_ambiguous=tied,
        history=RequestHistory(answered, unanswered, long_waits),
        sent_ns=sent_ns, wrote_ns=wrote_ns, received_ns=received_ns,
        held_by_window=held_by_window, flow_begin_ns=flow_begin_ns, flow_bytes=flow_bytes,
        failed_lookups=idle.failed_lookups, habit=habit,
    )  # fmt: skip


def inode_and_uid_of(idle: IdleConnection) -> tuple[int, int]:
    """Of the socket, as it was last shown."""
    inode, uid = _INODE_AND_UID.unpack_from(idle.memory, ACCOUNT_AT)
    return inode, uid


def socket_of(
    sample: TcpSample, interfaces: InterfaceByAddress, inode: int, uid: int, cgroup: int | None
) -> Socket:
    """The fact that a sample's socket is, held as given."""
    return Socket(
        inode, int.from_bytes(sample.cookie, "little"), "tcp",
        sample.local_address, sample.local_port, sample.remote_address, sample.remote_port,
        interfaces.of(sample.local_address, sample.remote_address, sample.bound_ifindex),
        uid, cgroup,
    )  # fmt: skip
