"""The ends of connections in a network namespace that a process lives in.

A socket of ours in there would keep the namespace, with all its interfaces, when its container
has long ended.  So a look goes in, asks and leaves; and it goes into a few only.
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
from xctl_probe.linux.socket_lookup import SocketLookup, SocketSnapshot

_CLONE_NEWNET = 0x40000000
_MOST_ENTERED = 8  # namespaces that one look goes into
_MOST_KNOWN = 4_096
_KNOWN_SAMPLES = 600  # that was not looked into for so many looks is known no more
# Where `ip netns` and Docker keep a namespace under a name, ip-netns(8); only root writes there.
_NAMED = ("/run/netns", "/run/docker/netns")
_MOST_NAMED = 1_024  # that are read in one folder


class NotNow(Exception):
    """This look has been in enough namespaces: another one will be in this."""


class NotEntered(Exception):
    """The namespace may not be entered, or the process that led there is gone."""


class Visits:
    """Counts the namespaces that looks go into: each has its turn, new ones first.

    `enter` opens what looks up connections in a namespace that a process is in.
    """

    def __init__(self, enter: Callable[[int, int], SocketLookup | None] | None = None) -> None:
        self._enter = enter or socket_lookup_in
        self._own = _own_namespace()
        self._at_home: SocketLookup | None = None
        self._entered: dict[
            int, tuple[int, SocketLookup | None]
        ] = {}  # by this look, and through whom
        self._tries = 0
        self._known: OrderedDict[int, int] = OrderedDict()  # the look that was in it last
        self._sample = 1

    def begin(self) -> None:
        """Start a look."""
        self.leave()
        self._tries = 0
        self._sample += 1
        while self._known and self._sample - next(iter(self._known.values())) > _KNOWN_SAMPLES:
            self._known.popitem(last=False)

    def leave(self) -> None:
        """Hold no namespace any more, except the probe's own."""
        for _, lookup in self._entered.values():
            if lookup is not None:
                lookup.close()
        self._entered.clear()

    def close(self) -> None:
        """Give all descriptors back.  Safe to call twice."""
        self.leave()
        if self._at_home is not None:
            self._at_home.close()
            self._at_home = None

    def lookup(self, netns: int, pid: int) -> SocketLookup | None:
        """What looks up connections there, until the look ends.

        None where the process does not lead there, or may not be followed.  Raises NotNow.
        """
        if netns == self._own:
            self._at_home = self._at_home or self._enter(netns, pid)
            return self._at_home
        through, lookup = self._entered.get(netns, (-1, None))
        if lookup is None and through != pid:  # another one may lead there
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
    """The connections of one namespace; `pid` is a process in it."""

    def __init__(self, visits: Visits, netns: int, pid: int) -> None:
        self._visits = visits
        self._netns = netns
        self.pid = pid

    def local_socket(self, of: Socket) -> SocketSnapshot | None:
        """The socket itself, None where it is not seen.  Raises NotNow, NotEntered."""
        return self._lookup_now().local_socket(of)

    def peer_socket(self, of: Socket) -> SocketSnapshot | None:
        """The socket at the other end, None where it is not seen.  Raises NotNow, NotEntered."""
        return self._lookup_now().peer_socket(of)

    def _lookup_now(self) -> SocketLookup:
        lookup = self._visits.lookup(self._netns, self.pid)
        if lookup is None:
            raise NotEntered
        return lookup


def socket_lookup_in(netns: int, pid: int) -> SocketLookup | None:
    """Look up in the namespace with this inode, of which `pid` holds a socket.

    A process may have left the namespace of its socket (haproxy's `namespace`, dockerd); then the
    namespace is found by its name.  None where sock_diag is refused, where the namespace may not
    be entered, or where no path leads to it; setns(2).
    """
    try:
        if os.stat("/proc/self/ns/net").st_ino == netns:
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
        return os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return 0


def _lookup_in(namespace: int) -> SocketLookup | None:
    # A netlink socket stays in the namespace where it was made; this thread ends there.
    found: list[SocketLookup] = []

    def make() -> None:
        setns = ctypes.CDLL(None, use_errno=True).setns
        with suppress(OSError):
            if setns(namespace, _CLONE_NEWNET) == 0:
                found.append(SocketLookup())

    thread = threading.Thread(target=make)
    try:
        thread.start()
    except RuntimeError:  # no more threads are to be had
        return None
    thread.join()
    return found[0] if found else None
