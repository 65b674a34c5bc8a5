"""What a process waits for on its own sockets: read where such reading may block.

proc(5): task/<tid>/syscall waits while the process is in execve(2), fdinfo of an epoll descriptor
while the kernel delivers events into its memory.
"""

from __future__ import annotations

from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from xctl_probe.events import Direction
from xctl_probe.linux.kcmp import has_own_descriptors
from xctl_probe.linux.procfs import link, socket_inode
from xctl_probe.linux.sole_socket import sole_stream_socket
from xctl_probe.linux.tasks import reader_of
from xctl_probe.linux.threads import (
    BlockedThread,
    blocked_threads,
    closing_threads,
    inodes_awaited_writable,
)

# Of one process: an answer of a helper has 64 KiB.
_MOST_THREADS = 2_048
_MOST_SOCKETS = 4_096


class What(Enum):
    """What is read of a process."""

    THREADS = auto()  # the threads blocked on sockets
    CLOSING = auto()  # the threads in close()
    WRITABLE = auto()  # the sockets that an event loop waits to write to


class SocketWaits(NamedTuple):
    """The waits of one process, as far as they were read.

    `threads`: tid, inode, and the direction (None where the thread waits in either).  `closing`
    are tids, `writable` inodes.
    """

    threads: tuple[tuple[int, int, Direction | None], ...] = ()
    closing: tuple[int, ...] = ()
    writable: frozenset[int] = frozenset()


class NotRead(Exception):
    """A process could not be read in time: it is tried again with the next sample."""


def socket_waits(pid: int, what: What, proc: Path = Path("/proc")) -> SocketWaits:
    """Read one part of what `pid` waits for; empty where it may not be read."""
    if what is What.CLOSING:
        return SocketWaits(closing=tuple(closing_threads(pid, proc)[:_MOST_THREADS]))
    if what is What.WRITABLE:
        inodes = sorted(inodes_awaited_writable(pid, proc))[:_MOST_SOCKETS]
        return SocketWaits(writable=frozenset(inodes))
    return SocketWaits(threads=_threads(pid, proc))


def _threads(pid: int, proc: Path) -> tuple[tuple[int, int, Direction | None], ...]:
    reader, sole, found = reader_of(pid, proc), None, []
    for thread in blocked_threads(pid, proc)[:_MOST_THREADS]:
        if thread.fd is not None:
            inode = _inode(thread, reader, proc) if thread.direction else None
        else:
            # Its call may not be read: `direction` is None where the function serves both.
            sole = inode = sole or sole_stream_socket(pid, proc)
        if inode is not None:
            found.append((thread.tid, inode, thread.direction))
    return tuple(found)


def _inode(thread: BlockedThread, reader: int, proc: Path) -> int | None:
    owner = thread.tid if has_own_descriptors(thread.tid, reader, proc) else reader
    return socket_inode(link(f"{proc}/{owner}/fd/{thread.fd}"))
