"""Lookup of peer sockets in all network namespaces of this host."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from xctl_probe.events import Socket
from xctl_probe.linux.netns import NotNow, Visits
from xctl_probe.linux.socket_lookup import SocketSnapshot

_MOST_NAMESPACES = 4_096  # a sample enters a few of them
_KEPT_NS = 10_000_000_000  # the list of namespaces
_MOST_PROCESSES = 65_536  # that are read for it
_SHARE = 100  # the list takes at most this part (1/n) of the time


class HostSockets:
    """Lookup of the peer socket of a connection, wherever on this host it is.

    A namespace is entered through a process that lives in it, so only root finds peers in other
    namespaces.  One sample enters a few (`Visits`); the others are entered by later samples.
    """

    def __init__(
        self,
        visits: Visits | None = None,
        namespaces: Callable[[], dict[int, int]] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._visits = visits or Visits()
        self._namespaces = namespaces or read_namespaces
        self._clock = clock
        self._known: dict[int, int] = {}  # netns -> a process in it
        self._due_ns = 0  # when the list is read again

    def close(self) -> None:
        """Close all descriptors.  Safe to call twice."""
        self._visits.close()

    def begin(self) -> None:
        """Start a sample."""
        self._visits.begin()

    def leave(self) -> None:
        """End a sample: no namespace is held until the next one."""
        self._visits.leave()

    def peer_socket(
        self, of: Socket, netns: int, pid: int, tried: set[int]
    ) -> SocketSnapshot | None:
        """Return the peer socket, None where it is not found.

        `netns` is the namespace of the socket, `pid` a process in it.  `tried` are namespaces that
        do not have the peer; those that this sample has entered are added.
        """
        with suppress(NotNow):
            lookup = self._visits.lookup(netns, pid)
            found = lookup.peer_socket(of) if lookup is not None else None
            if found is not None or not _may_be_elsewhere(of):
                return found
            for other, through in list(self._others().items()):
                if other == netns or other in tried:
                    continue
                lookup = self._visits.lookup(other, through)
                if lookup is None:  # its process has exited: another one may lead there
                    self._known.pop(other, None)
                    continue
                found = lookup.peer_socket(of)
                if found is not None:
                    return found
                tried.add(other)
        return None

    def _others(self) -> dict[int, int]:
        begun_ns = self._clock()
        if begun_ns >= self._due_ns:
            self._known = self._namespaces()
            ended_ns = self._clock()
            self._due_ns = ended_ns + max(_KEPT_NS, (ended_ns - begun_ns) * _SHARE)
        return self._known


def read_namespaces() -> dict[int, int]:
    """Return the network namespaces of all processes that may be read: inode to pid."""
    found: dict[int, int] = {}
    try:
        pids = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return found
    for pid in pids[:_MOST_PROCESSES]:
        try:
            text = os.readlink(f"/proc/{pid}/ns/net")  # net:[4026531840]
        except OSError:
            continue
        inode = text[len("net:[") : -1]
        if inode.isdigit():
            found.setdefault(int(inode), int(pid))
        if len(found) > _MOST_NAMESPACES:
            break
    return found


def _may_be_elsewhere(of: Socket) -> bool:
    """True where the addresses of the connection mean the same in every namespace of this host.

    A loopback address, or one that both sides share, is of one namespace.
    """
    remote = of.remote_address
    return remote != of.local_address and not ip_address(remote).is_loopback
