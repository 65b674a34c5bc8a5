"""Sockets in close(): a thread waits until the peer has acknowledged the remaining data.

socket(7): SO_LINGER.  The descriptor is gone; the socket still has its inode and user, but no
owner.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from xctl_probe.commands.why.peers import INODE
from xctl_probe.commands.why.threads import Thread
from xctl_probe.fallback.sock_diag import CLOSING, FIN_WAIT1, LAST_ACK
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.linux.syscalls import Role
from xctl_probe.linux.wchan import ON_SOCKETS

_STATE = 1  # in struct inet_diag_msg
_UID = slice(64, 68)
_STATES = (FIN_WAIT1, LAST_ACK, CLOSING)


def closes(thread: Thread) -> bool:
    """True when the thread waits in close() until the data of a socket is sent."""
    return (
        thread.call is not None
        and thread.call.role is Role.CLOSE
        and thread.wchan.startswith(ON_SOCKETS)
    )


def closed_sockets(pid: int, threads: list[Thread], messages: Iterable[bytes]) -> dict[int, int]:
    """Return inode and descriptor of the one socket that a thread of `pid` closes.

    Empty where no thread closes one, and where several sockets of the host may be meant.
    """
    fds = [t.call.watched[0].fd for t in threads if closes(t) and t.call is not None]
    if len(fds) != 1:
        return {}
    try:
        user = os.stat(f"/proc/{pid}/task").st_uid.to_bytes(4, "little")
    except OSError:
        return {}
    inodes = {
        int.from_bytes(message[INODE], "little")
        for message in messages
        if message[_STATE] in _STATES and message[_UID] == user
    } - {0}
    owners = Owners()
    owners.search(inodes)
    left = [inode for inode in inodes if owners.get(inode) is None]
    return {left[0]: fds[0]} if len(left) == 1 else {}
