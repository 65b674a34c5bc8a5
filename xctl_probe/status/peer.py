"""Who is at the other side of a unix socket.  SO_PEERCRED, unix(7)."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("=iII")


class Peer(NamedTuple):
    """Process and user that connected, or that listens; pid 0: of another pid namespace."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the peer of a connection, as the kernel names it.  Raises OSError."""
    given = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(given)
    return Peer(pid, uid)
