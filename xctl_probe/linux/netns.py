"""Lookup of connections in other network namespaces.

A netlink socket keeps its namespace and the interfaces there alive, even after the container has
exited.  Therefore a sample enters a namespace, looks up and leaves, and it enters only a few.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from xctl_probe.events import Socket
from xctl_probe.linux.procfs import namespace_inode
from xctl_probe.linux.socket_lookup import SocketLookup, SocketSnapshot

_CLONE_NEWNET = 0x40000000
_MOST_ENTERED = 8  # namespaces that one sample enters
_MOST_KNOWN = 4_096
_KNOWN_SAMPLES = 600  # samples after which an unused namespace is forgotten
# Where `ip netns` and Docker keep a namespace under a name, ip-netns(8); only root writes there.
_NAMED = ("/run/netns", "/run/docker/netns")
_MOST_NAMED = 1_024  # that are read in one folder


class NotNow(Exception):
    """This sample has entered enough namespaces; a later sample enters this one."""


class NotEntered(Exception):
    """The namespace may not be entered, or the process in it is gone."""


class Visits:
    """Limits the namespaces that a sample enters: they take turns, new ones first.

    `enter(netns, pid)` opens a lookup in the namespace of a process.
    """

    def __init__(self, enter: Callable[[int, int], SocketLookup | None] | None = None) -> None:
        self._enter = enter or socket_lookup_in
        self._own = _own_namespace()
        self._at_home: SocketLookup | None = None
        self._entered: dict[
            int, tuple[int, SocketLookup | None]
        ] = {}  # in this sample: netns -> pid that led there, lookup
        self._tries = 0
        self._known: OrderedDict[int, int] = (
            OrderedDict()
        )  # netns -> number of the last sample that entered it
        self._sample = 1

    def begin(self) -> None:
        """Start a sample."""
        self.leave()
        self._tries = 0
        self._sample += 1
        while self._known and self._sample - next(iter(self._known.values())) > _KNOWN_SAMPLES:
            self._known.popitem(last=False)

    def leave(self) -> None:
        """Close the lookups in other namespaces than the probe's own."""
        for _, lookup in self._entered.values():
            if lookup is not None:
                lookup.close()
        self._entered.clear()

    def close(self) -> None:
        """Close all descriptors.  Safe to call twice."""
        self.leave()
        if self._at_home is not None:
            self._at_home.close()
            self._at_home = None

    def lookup(self, netns: int, pid: int) -> SocketLookup | None:
        """Return a lookup in this namespace, valid for this sample.

        None where the process is not in it, or it may not be entered.  Raises NotNow.
        """
        if netns == self._own:
            self._at_home = self._at_home or self._enter(netns, pid)
            return self._at_home
        through, lookup = self._entered.get(netns, (-1, None))
        if lookup is None and through != pid:  # another process may lead there
            if netns not in self._entered:
                self._take_turn(netns)
            self._count()
            lookup = self._enter(netns, pid)
            self._entered[netns] = pid, lookup
        return lookup

    def _count(self) -> None:
        self._tries += 1
        if self._tries > 2 * _MOST_ENTERED:
            raise NotNow

    def _take_turn(self, netns: int) -> None:
        last = self._known.get(netns)
        pause = len(self._known) // _MOST_ENTERED
        if len(self._entered) >= _MOST_ENTERED or (last and self._sample - last <= pause):
            raise NotNow
        self._known[netns] = self._sample
        self._known.move_to_end(netns)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


class NetnsLookup:
    """Lookup in one namespace, which is entered when needed; `pid` is a process in it."""

    def __init__(self, visits: Visits, netns: int, pid: int) -> None:
        self._visits = visits
        self._netns = netns
        self.pid = pid

    def local_socket(self, of: Socket) -> SocketSnapshot | None:
        """Return the local socket, None where it is not found.  Raises NotNow, NotEntered."""
        return self._lookup_now().local_socket(of)

    def peer_socket(self, of: Socket) -> SocketSnapshot | None:
        """Return the peer socket, None where it is not found.  Raises NotNow, NotEntered."""
        return self._lookup_now().peer_socket(of)

    def _lookup_now(self) -> SocketLookup:
        lookup = self._visits.lookup(self._netns, self.pid)
        if lookup is None:
            raise NotEntered
        return lookup


def socket_lookup_in(netns: int, pid: int) -> SocketLookup | None:
    """Open a lookup in the namespace with the inode `netns`, of which `pid` holds a socket.

    A process may have left the namespace of its socket (haproxy's `namespace`, dockerd); then the
    namespace is found by its name.  Returns None where sock_diag is refused, the namespace may not
    be entered, or no path leads to it.  setns(2).
    """
    try:
        if namespace_inode("net") == netns:
            return SocketLookup()
    except OSError:
        return None
    for path in _paths(pid):
        try:
            if os.stat(path).st_ino == netns:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                break
        except OSError:
            continue
    else:
        return None
    try:
        return _lookup_in(fd) if os.fstat(fd).st_ino == netns else None
    finally:
        os.close(fd)


def _paths(pid: int) -> Iterator[str]:
    """Where the namespace may be found, the likeliest first."""
    yield f"/proc/{pid}/ns/net"
    for folder in _NAMED:
        try:
            with os.scandir(folder) as entries:
                yield from (entry.path for entry in islice(entries, _MOST_NAMED))
        except OSError:
            continue


def _own_namespace() -> int:
    try:
        return namespace_inode("net")
    except OSError:
        return 0


def _lookup_in(namespace: int) -> SocketLookup | None:
    # A netlink socket stays in the namespace where it was created; the thread exits there.
    found: list[SocketLookup] = []

    def make() -> None:
        setns = ctypes.CDLL(None, use_errno=True).setns
        with suppress(OSError):
            if setns(namespace, _CLONE_NEWNET) == 0:
                found.append(SocketLookup())

    thread = threading.Thread(target=make)
    try:
        thread.start()
    except RuntimeError:  # no more threads are available
        return None
    thread.join()
    return found[0] if found else None
