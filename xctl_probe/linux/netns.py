"""The ends of connections in a network namespace that a process lives in.

A socket of ours in there would keep the namespace, with all its interfaces, when its container
has long ended.  So a look goes in, asks and leaves; and it goes into a few only.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from xctl_probe.events import Socket
from xctl_probe.linux.procfs import namespace_inode
from xctl_probe.linux.socket_lookup import SocketLookup, SocketSnapshot

_CLONE_NEWNET = 0x40000000
_IN_A_LOOK = 8  # namespaces that one look goes into
_MOST_KNOWN = 4_096
_KNOWN_LOOKS = 600  # that was not looked into for so many looks is known no more


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
        self._look = 1

    def begin(self) -> None:
        """Start a look."""
        self.leave()
        self._tries = 0
        self._look += 1
        while self._known and self._look - next(iter(self._known.values())) > _KNOWN_LOOKS:
            self._known.popitem(last=False)

    def leave(self) -> None:
        """Hold no namespace any more, except the probe's own."""
        for _, ends in self._entered.values():
            if ends is not None:
                ends.close()
        self._entered.clear()

    def close(self) -> None:
        """Give all descriptors back.  Safe to call twice."""
        self.leave()
        if self._at_home is not None:
            self._at_home.close()
            self._at_home = None

    def ends(self, netns: int, pid: int) -> SocketLookup | None:
        """What looks up connections there, until the look ends.

        None where the process does not lead there, or may not be followed.  Raises NotNow.
        """
        if netns == self._own:
            self._at_home = self._at_home or self._enter(netns, pid)
            return self._at_home
        through, ends = self._entered.get(netns, (-1, None))
        if ends is None and through != pid:  # another one may lead there
            if netns not in self._entered:
                self._take_turn(netns)
            self._count()
            ends = self._enter(netns, pid)
            self._entered[netns] = pid, ends
        return ends

    def _count(self) -> None:
        self._tries += 1
        if self._tries > 2 * _IN_A_LOOK:
            raise NotNow

    def _take_turn(self, netns: int) -> None:
        last = self._known.get(netns)
        pause = len(self._known) // _IN_A_LOOK
        if len(self._entered) >= _IN_A_LOOK or (last and self._look - last <= pause):
            raise NotNow
        self._known[netns] = self._look
        self._known.move_to_end(netns)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


class Elsewhere:
    """The connections of one namespace; `pid` is a process in it."""

    def __init__(self, visits: Visits, netns: int, pid: int) -> None:
        self._visits = visits
        self._netns = netns
        self.pid = pid

    def local_socket(self, of: Socket) -> SocketSnapshot | None:
        """The socket itself, None where it is not seen.  Raises NotNow, NotEntered."""
        return self._ends().local_socket(of)

    def peer_socket(self, of: Socket) -> SocketSnapshot | None:
        """The socket at the other end, None where it is not seen.  Raises NotNow, NotEntered."""
        return self._ends().peer_socket(of)

    def _ends(self) -> SocketLookup:
        ends = self._visits.ends(self._netns, self.pid)
        if ends is None:
            raise NotEntered
        return ends


def socket_lookup_in(netns: int, pid: int) -> SocketLookup | None:
    """Look up in the namespace with this inode, which `pid` is in.

    None where sock_diag is refused, or the namespace may not be entered; setns(2).
    """
    try:
        if namespace_inode("net") == netns:
            return SocketLookup()
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _ends_of(fd) if os.fstat(fd).st_ino == netns else None
    finally:
        os.close(fd)


def _own_namespace() -> int:
    try:
        return namespace_inode("net")
    except OSError:
        return 0


def _ends_of(namespace: int) -> SocketLookup | None:
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
