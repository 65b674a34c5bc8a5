"""Packed state of an idle connection: 500 bytes instead of 2,000.

Most sockets of a host are idle most of the time.  The state contains the bytes of the message that
change with activity, and the packed fields of `Connection`.
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
# The memory has three parts.  A sample changes these fields of Connection: opened,
# order_ambiguous, held_by_window, sent_ns, wrote_ns, received_ns, flow_begin_ns, flow_bytes,
# history.answered, retransmits, socket.inode, counters
_SAMPLE = "3?4qQIIQ" + "B4QI2Q"
SAMPLE = struct.Struct("=" + _SAMPLE)
# An interval changes: sent, received
_INTERVAL = "2Q"
INTERVAL, INTERVAL_AT = struct.Struct("=" + _INTERVAL), SAMPLE.size
# Constant: socket.uid, socket.cgroup, history.unanswered, first_sample_ns, habit,
# history.long_waits, history.late_reply, history.late_ns, duplicates
_MEMORY = struct.Struct("=" + _SAMPLE + _INTERVAL + "IQIqBIIQI")
# Reported once an interval: inode, sent_payload and received_payload of the counters; then the
# fields that an interval changes
ACCOUNT, ACCOUNT_AT = struct.Struct("=Q37x2Q" + _INTERVAL), struct.calcsize("=3?4qQII")
_INODE_AND_UID = struct.Struct("=Q69xI")


@dataclass(slots=True, eq=False)
class IdleConnection:
    """Packed state of one idle connection.

    `generation` is the number of the sample that contained it last; `memory` has the layout above.
    The other fields are those of `Connection`.
    """

    generation: int
    detector: ChangeDetector
    fingerprint: bytes
    timer_retries: int  # while nothing is on its way: keepalives that go unanswered
    memory: bytearray
    peer_history: RequestHistory
    interface: str | None
    failed_lookups: int
    routing: int = 0  # state of the host's routing when `interface` was requested


def pack(connection: Connection, fingerprint: bytes) -> IdleConnection | None:
    """Pack an idle connection with nothing to report; None where a value does not fit."""
    socket, history = connection.socket, connection.history
    try:
        memory = _MEMORY.pack(
            connection.opened, connection.order_ambiguous, connection.held_by_window,
            connection.sent_ns, connection.wrote_ns, connection.received_ns,
            connection.flow_begin_ns, connection.flow_bytes,
            history.answered, connection.retransmits, socket.inode, *connection.counters,
            connection.sent, connection.received,
            socket.uid or 0, _NO_CGROUP if socket.cgroup is None else socket.cgroup,
            history.unanswered, connection.first_sample_ns, connection.habit, history.long_waits,
            history.late_reply, history.late_ns, connection.duplicates,
        )  # fmt: skip
    except struct.error:  # values that no kernel reports
        return None
    return IdleConnection(
        connection.generation, connection.detector, fingerprint,
        connection.sample.timer_retries, bytearray(memory),
        connection.peer_history,
        socket.interface, connection.failed_lookups,
    )  # fmt: skip


def unpack(idle: IdleConnection, sample: TcpSample, interfaces: InterfaceByAddress) -> Connection:
    """Return the connection as it was packed, with a new sample that is not yet observed."""
    (
                opened, order_ambiguous, held_by_window, sent_ns, wrote_ns, received_ns,
                flow_begin_ns, flow_bytes, answered, retransmits, inode, *counters,
        sent, received, uid, cgroup, unanswered, first_sample_ns, habit, long_waits,
        late_reply, late_ns, duplicates,
    ) = _MEMORY.unpack(idle.memory)  # fmt: skip
    # Inode and uid are those of the packed state: a socket without a process has neither.
    socket = socket_of(sample, interfaces, inode, uid, None if cgroup == _NO_CGROUP else cgroup)
    return Connection(
        socket, sample, idle.detector, idle.fingerprint, opened, idle.peer_history, first_sample_ns,
        Counters._make(counters), sent=sent, received=received, retransmits=retransmits,
        duplicates=duplicates, generation=idle.generation, order_ambiguous=order_ambiguous,
        history=RequestHistory(
            answered, unanswered, long_waits, late_reply=late_reply, late_ns=late_ns
        ),
        sent_ns=sent_ns, wrote_ns=wrote_ns, received_ns=received_ns,
        held_by_window=held_by_window, flow_begin_ns=flow_begin_ns, flow_bytes=flow_bytes,
        failed_lookups=idle.failed_lookups, habit=habit,
    )  # fmt: skip


def inode_and_uid_of(idle: IdleConnection) -> tuple[int, int]:
    """Return inode and uid of the socket, as of its last sample."""
    inode, uid = _INODE_AND_UID.unpack_from(idle.memory, ACCOUNT_AT)
    return inode, uid


def socket_of(
    sample: TcpSample, interfaces: InterfaceByAddress, inode: int, uid: int, cgroup: int | None
) -> Socket:
    """Return the event's socket for a sample, with this inode, uid and cgroup."""
    return Socket(
        inode, int.from_bytes(sample.cookie, "little"), "tcp",
        sample.local_address, sample.local_port, sample.remote_address, sample.remote_port,
        interfaces.of(sample.local_address, sample.remote_address, sample.bound_ifindex),
        uid, cgroup,
    )  # fmt: skip
