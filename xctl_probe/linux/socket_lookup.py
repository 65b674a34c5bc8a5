"""Lookup of one TCP socket of this network namespace by both addresses.

An exact lookup in the kernel's hash table (inet_diag_find_one_icsk(), net/ipv4/inet_diag.c):
any user may request it, and its cost does not depend on the number of sockets.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from xctl_probe.events import Socket
from xctl_probe.linux.netlink import NetlinkSocket

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_LISTEN, _TIMER_RETRANSMIT = 10, 1

# struct inet_diag_req_v2: family, protocol, extensions, padding, states; then the ports,
# both addresses in 16 bytes each, an interface, and a cookie that fits every socket.
_REQUEST = struct.Struct("=BBBBIHH16s16sI8s")
_ANY_COOKIE = b"\xff" * 8
# struct inet_diag_msg: state, timer and retries; then, after the addresses, both queues, a
# user and the inode.
_ANSWER = struct.Struct("=x3B52x2I4xI")


class SocketSnapshot(NamedTuple):
    """State of one socket; queues in bytes, `inode` 0 until the connection is accepted."""

    unread_bytes: int
    unacknowledged_bytes: int
    retransmits: bool  # its data is being retransmitted
    inode: int


class SocketLookup:
    """Lookup of both sockets of a connection.  Raises OSError where sock_diag is refused."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(_NETLINK_SOCK_DIAG)

    def close(self) -> None:
        """Close the descriptor.  Safe to call twice."""
        self._netlink.close()

    def local_socket(self, of: Socket) -> SocketSnapshot | None:
        """Return the local socket, None where it is gone or in another namespace."""
        return self._find(of.local_address, of.local_port, of.remote_address, of.remote_port)

    def peer_socket(self, of: Socket) -> SocketSnapshot | None:
        """Return the peer socket, None where it is not in this namespace."""
        return self._find(of.remote_address, of.remote_port, of.local_address, of.local_port)

    def _find(
        self, local: str, local_port: int, remote: str, remote_port: int
    ) -> SocketSnapshot | None:
        family = socket.AF_INET6 if ":" in local else socket.AF_INET
        request = _REQUEST.pack(
            family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF,
            socket.htons(local_port), socket.htons(remote_port),
            socket.inet_pton(family, local), socket.inet_pton(family, remote), 0, _ANY_COOKIE,
        )  # fmt: skip
        try:
            answer = self._netlink.ask(_SOCK_DIAG_BY_FAMILY, request)
        except OSError:
            return None  # ENOENT, or the kernel refuses
        if len(answer) < _ANSWER.size:
            return None
        state, timer, retries, unread, unacknowledged, inode = _ANSWER.unpack_from(answer)
        if state == _LISTEN:  # a listener is not the peer of a connection
            return None
        lost = timer == _TIMER_RETRANSMIT and retries > 0
        return SocketSnapshot(unread, unacknowledged, lost, inode)
