"""A connection on which nothing happens, kept in 400 bytes instead of 2,000.

Most sockets of a host are idle most of the time.  Of each is kept what a message of it would
have to differ in, and what is remembered between two samples, packed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xctl_probe.addresses import InterfaceByAddress
from xctl_probe.dialogue import Dialogue
from xctl_probe.facts import Socket
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.sock_diag import Mark, TcpSample, Watch

_NO_CGROUP = (1 << 64) - 1
# Connection: opened, tied, held_by_window, met_ns to received_ns, counts; then its mark
_MEMORY = struct.Struct("=3?4q4Q2II2QI" + "B5QI")
_INODE = 14  # its place among them


@dataclass(slots=True, eq=False)
class Resting:
    """What is left of a quiet connection: `generation` says when the kernel last showed it."""

    generation: int
    watch: Watch
    signature: bytes
    memory: bytes
    peer: Dialogue


def rest(connection: Connection, signature: bytes) -> Resting | None:
    """Pack a connection that is quiet and has nothing to report; None where that is impossible."""
    socket, dialogue = connection.socket, connection.dialogue
    try:
        memory = _MEMORY.pack(
            connection.opened, connection.tied, connection.held_by_window,
            connection.met_ns, connection.sent_ns, connection.wrote_ns, connection.received_ns,
            connection.sent, connection.received, connection.retransmits, connection.flow_bytes,
            dialogue.answered, dialogue.unanswered, connection.searched,
            socket.inode, _NO_CGROUP if socket.cgroup is None else socket.cgroup, socket.uid or 0,
            *connection.mark,
        )  # fmt: skip
    except struct.error:  # counts that no kernel has
        return None
    return Resting(connection.generation, connection.watch, signature, memory, connection.peer)


def wake(resting: Resting, sample: TcpSample, interfaces: InterfaceByAddress) -> Connection:
    """The connection as it was, with the sample that woke it: not yet observed."""
    (
        opened, tied, held_by_window, met_ns, sent_ns, wrote_ns, received_ns,
        sent, received, retransmits, flow_bytes, answered, unanswered, searched,
        inode, cgroup, uid, *mark,
    ) = _MEMORY.unpack(resting.memory)  # fmt: skip
    # Who held it is remembered: a socket without a process any more has no inode and no uid.
    socket = socket_of(sample, interfaces, inode, uid, None if cgroup == _NO_CGROUP else cgroup)
    return Connection(
        socket, sample, resting.watch, resting.signature, opened, resting.peer, met_ns,
        Mark._make(mark), sent=sent, received=received, retransmits=retransmits,
        generation=resting.generation, dialogue=Dialogue(answered, unanswered), tied=tied,
        sent_ns=sent_ns, wrote_ns=wrote_ns, received_ns=received_ns,
        held_by_window=held_by_window, flow_bytes=flow_bytes, searched=searched,
    )  # fmt: skip


def inode_of(resting: Resting) -> int:
    """Of the socket, as it was last shown."""
    inode: int = _MEMORY.unpack(resting.memory)[_INODE]
    return inode


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
