"""The other end of a connection, where it is on this host: has it the request, and what then?

Two programs may have agreed that an answer takes its time: a blocking read of a queue, a long
poll.  Then the peer has read the request and waits for more from the same connection.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import ip_address
from typing import Protocol

from xctl_probe.events import Process, Socket
from xctl_probe.linux.netns import NotEntered, NotNow
from xctl_probe.linux.process_activity import Doing, Processes, Steps
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.linux.socket_lookup import End
from xctl_probe.linux.socket_owners import Owners

_SEARCHES = 2  # through all of /proc for one inode each, in one look; more go together
_MOST_SEARCHED = 4096
_LOOKS_IN_A_STEP = 2


class Finding(Enum):
    """What the other end shows."""

    UNKNOWN = auto()  # it is not on this host, as far as this can be found out
    HIDDEN = auto()  # the peer has taken the request, and its process may not be inspected
    ON_ITS_WAY = auto()  # the request has not arrived
    UNREAD = auto()  # nobody has taken the request out of the peer's queue
    ANSWER_LOST = auto()  # the peer has answered, and its answer does not get through
    BUSY = auto()  # the peer has taken the request, and does something else
    UNDECIDED = auto()  # busy, or on its way back to its event loop
    AGREED = auto()  # the peer has taken the request, and waits for more from us


_UNSEEN = {Doing.UNKNOWN: Finding.UNKNOWN, Doing.LATER: Finding.UNDECIDED}


class Lookup(Protocol):
    """How the two ends of a connection are found."""

    def near(self, of: Socket) -> End | None:
        """The socket itself."""

    def far(self, of: Socket) -> End | None:
        """The socket at the other end."""


@dataclass(slots=True)
class Past:
    """What earlier looks at the same wait have found."""

    finding: Finding | None = None
    peer: Process | None = None  # who has the other end
    steps: Steps | None = None  # of the peer's threads, when it was last undecided
    same_step: int = 0  # for how many looks on end it has been in the same


class OtherEnd:
    """Looks at the peers of waits; `begin` starts a look at many.

    Who shares `processes` among several begins them himself.
    """

    def __init__(
        self,
        ends: Lookup,
        owners: Owners,
        processes: Processes | ProcessesAside | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._ends = ends
        self._owners = owners
        self._processes = processes or Processes()
        self._shared = shared
        self._searched: OrderedDict[int, None] = OrderedDict()  # inodes, the latest last
        self._wanted: dict[int, int | None] = {}  # and their user: the next look begins with them
        self._searches = 0

    def begin(self) -> None:
        """Forget what the last look has read."""
        if not self._shared:
            self._processes.begin()
        self._searches = 0
        wanted, self._wanted = self._wanted, {}
        for asker in set(wanted.values()):
            self._search({inode for inode, uid in wanted.items() if uid == asker}, asker)

    def find(self, socket: Socket, past: Past, *, delivered: bool | None = None) -> Finding:
        """What the far end of `socket` shows now; `past` is brought up to date.

        `delivered`: the request was acknowledged; None where that is to be found out.
        """
        with suppress(NotNow):
            try:
                if delivered is None:
                    near = self._ends.near(socket)
                    delivered = near is None or not near.unacknowledged_bytes
                past.finding = self._find(socket, past) if delivered else Finding.ON_ITS_WAY
            except NotEntered:
                past.finding = seen_from_here(socket)
        past.finding = past.finding or Finding.UNDECIDED
        return past.finding

    def _find(self, socket: Socket, past: Past) -> Finding:
        far = self._ends.far(socket)
        if far is None:
            return Finding.UNKNOWN
        if far.unread_bytes:
            return Finding.UNREAD
        if far.retransmits:
            return Finding.ANSWER_LOST
        peer = past.peer = self._owner(far.inode, socket.uid)
        if peer is None:
            if not far.inode:
                return Finding.UNKNOWN  # no process has it open
            if far.inode not in self._searched:
                return Finding.UNDECIDED
            # Not found among all processes, it is held up or in flight: that excuses no wait.
            return Finding.HIDDEN if self._owners.refused else Finding.UNKNOWN
        if past.finding is Finding.AGREED:
            # It has gone back to its loop once: what it does since is for somebody else.
            return Finding.BUSY if self._processes.stopped(peer.pid) else Finding.AGREED
        return self._what_it_does(peer.pid, far.inode, past)

    def keeps_listening(self, socket: Socket) -> bool:
        """True when the peer watches this connection, or may do so unseen.

        Said of a wait that is over: what its queue holds is younger.
        """
        try:
            far = self._ends.far(socket)
        except NotNow:
            return True  # it may
        except NotEntered:
            return seen_from_here(socket) is Finding.HIDDEN
        peer = self._owner(far.inode, socket.uid) if far else None
        if far is None or not far.inode:
            return False
        if peer is None:  # it may: its process is not searched for yet, or may not be read
            return far.inode not in self._searched or self._owners.refused
        past = Past()
        return self._what_it_does(peer.pid, far.inode, past) is not Finding.BUSY

    def _what_it_does(self, pid: int, inode: int, past: Past) -> Finding:
        doing = self._processes.doing(pid, inode)
        if doing in _UNSEEN:
            return _UNSEEN[doing]
        if doing is Doing.WAITS_FOR_IT:
            return Finding.AGREED
        if doing is not Doing.MAY_COME_BACK:
            return Finding.BUSY
        # An event loop that answers others meanwhile runs, sleeps, runs: only one that is
        # found again and again in the same long step is busy with something, unless it is
        # the processor that it waits for.
        steps = self._processes.steps(pid)
        same = past.steps is not None and steps.is_step_of(past.steps)
        past.same_step, past.steps = past.same_step + 1 if same else 0, steps
        return Finding.BUSY if past.same_step >= _LOOKS_IN_A_STEP else Finding.UNDECIDED

    def _owner(self, inode: int, asker: int | None) -> Process | None:
        if not self._owners.holds(inode):
            if not inode or inode in self._searched:
                return None
            if self._searches >= _SEARCHES:
                self._wanted[inode] = asker
                return None
            self._searches += 1
            self._search({inode}, asker)
        return self._owners.of(inode)

    def _search(self, inodes: set[int], asker: int | None) -> None:
        unfinished = self._owners.search(inodes, asker)
        self._wanted |= dict.fromkeys(unfinished, asker)
        self._searched |= dict.fromkeys(inodes - unfinished)
        while len(self._searched) > _MOST_SEARCHED:
            self._owners.forget([self._searched.popitem(last=False)[0]])


def seen_from_here(socket: Socket) -> Finding:
    """What is known of a peer where its socket cannot be found: is it on this host at all?"""
    remote = socket.remote_address
    here = remote == socket.local_address or ip_address(remote).is_loopback
    return Finding.HIDDEN if here and socket.protocol == "tcp" else Finding.UNKNOWN
