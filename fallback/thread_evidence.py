"""Evidence of a process: its blocked threads, and the interest list of its event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from xctl_probe.events import Direction
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.owner_cache import Owners
from xctl_probe.linux.socket_waits import SocketWaits, What


@dataclass(frozen=True, slots=True)
class Blocked:
    """Evidence that a process waits; `tid` is the blocked thread, None for an event loop."""

    tid: int | None


class Processes(Protocol):
    """Reads processes; one reading of a process serves one sample."""

    def begin(self) -> None:
        """Forget the last sample's readings."""

    def waits(self, pid: int, what: What) -> SocketWaits:
        """What `pid` waits for.  Raises NotRead."""


class ProcessEvidence:
    """Reads the threads of a connection's owner.

    Each method raises NotRead where the owner could not be read in time.
    """

    def __init__(self, owners: Owners, processes: Processes) -> None:
        self._owners = owners
        self._processes = processes

    def begin(self) -> None:
        """Forget the last sample's readings."""
        self._processes.begin()

    def of_sending(self, connection: Connection) -> Blocked | None:
        """Return a thread blocked in a send, or an event loop that waits for a writeable socket."""
        inode = connection.socket.inode
        thread = self.thread_on(inode, Direction.SEND)
        if thread is not None:
            return Blocked(thread[0])
        return Blocked(None) if inode in self._waits(inode, What.WRITABLE).writable else None

    def of_closing(self, connection: Connection) -> Blocked | None:
        """A thread in close(): its descriptor is gone already, so any of the owner's will do."""
        tids = self._waits(connection.socket.inode, What.CLOSING).closing
        if not tids:
            return None
        return Blocked(tids[0] if len(tids) == 1 else None)

    def of_receiving(self, connection: Connection) -> Blocked | None:
        """Return a thread blocked in a receive."""
        thread = self.thread_on(connection.socket.inode, Direction.RECEIVE)
        return Blocked(thread[0]) if thread else None

    def thread_on(self, inode: int, *directions: Direction) -> tuple[int, Direction | None] | None:
        """A thread that waits on this socket in one of these directions, and the direction."""
        for tid, on, direction in self._waits(inode, What.THREADS).threads:
            if on == inode and (direction is None or direction in directions):
                return tid, direction
        return None

    def _waits(self, inode: int, what: What) -> SocketWaits:
        owner = self._owners.get(inode)
        return self._processes.waits(owner.pid, what) if owner else SocketWaits()
