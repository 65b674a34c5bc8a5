"""Sockets that a thread closes just now, and waits until the peer has taken the rest.

socket(7): SO_LINGER.  The descriptor is no more; the socket has its inode and user still, and no
holder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from xctl_probe.commands.why.diag_sampler import INODE
from xctl_probe.commands.why.threads import Thread
from xctl_probe.fallback.sock_diag import CLOSING, FIN_WAIT1, LAST_ACK
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.linux.syscalls import Role
from xctl_probe.linux.wchan import ON_SOCKETS

_STATE = 1  # in struct inet_diag_msg
_UID = slice(64, 68)
_STATES = (FIN_WAIT1, LAST_ACK, CLOSING)


def closes(thread: Thread) -> bool:
    """True when the thread waits in close() for a socket to get rid of its data."""
    return (
        thread.call is not None
        and thread.call.role is Role.CLOSE
        and thread.wchan.startswith(ON_SOCKETS)
    )


def closed_sockets(pid: int, threads: list[Thread], messages: Iterable[bytes]) -> dict[int, int]:
    """Inode to descriptor of the one socket that a thread of `pid` closes.

    Empty where no thread does, and where several sockets on the host might be the one.
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
