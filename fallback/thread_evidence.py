"""Evidence of a process: its blocked threads, and the interest list of its event loop."""

from __future__ import annotations

from dataclasses import dataclass

from xctl_probe.events import Direction
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.sole_socket import sole_stream_socket
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.linux.threads import BlockedThread, blocked_threads, closing_threads, waits_writable


@dataclass(frozen=True, slots=True)
class Blocked:
    """Evidence that a process waits; `tid` is the blocked thread, None for an event loop."""

    tid: int | None


class ProcessEvidence:
    """Reads the threads of a connection's owner, at most once per process and sample."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._threads: dict[int, list[BlockedThread]] = {}

    def begin(self) -> None:
        """Start a sample: forget what was read for the last one."""
        self._threads.clear()

    def of_sending(self, connection: Connection) -> Blocked | None:
        """Return a thread blocked in a send, or an event loop that waits for a writeable socket."""
        inode = connection.socket.inode
        thread = self.thread_on(inode, Direction.SEND)
        if thread is not None:
            return Blocked(thread.tid)
        owner = self._owners.get(inode)
        return Blocked(None) if owner and waits_writable(owner.pid, inode) else None

    def of_closing(self, connection: Connection) -> Blocked | None:
        """Return a thread in close(): any of the owner's, as the descriptor is gone."""
        owner = self._owners.get(connection.socket.inode)
        tids = closing_threads(owner.pid) if owner else []
        if not tids:
            return None
        return Blocked(tids[0] if len(tids) == 1 else None)

    def of_receiving(self, connection: Connection) -> Blocked | None:
        """Return a thread blocked in a receive."""
        thread = self.thread_on(connection.socket.inode, Direction.RECEIVE)
        return Blocked(thread.tid) if thread else None

    def thread_on(self, inode: int, *directions: Direction) -> BlockedThread | None:
        """Return a thread that waits on this socket in one of these directions."""
        owner = self._owners.get(inode)
        if owner is None:
            return None
        threads = self._threads.get(owner.pid)
        if threads is None:
            threads = self._threads[owner.pid] = blocked_threads(owner.pid)
        for thread in threads:
            if thread.fd is None:
                # Its call may not be read; `direction` is None where the function serves both.
                fits = thread.direction is None or thread.direction in directions
                if fits and sole_stream_socket(owner.pid) == inode:
                    return thread
            elif thread.direction in directions and (
                self._owners.fd_inode(owner.pid, thread.fd) == inode
            ):
                return thread
        return None
