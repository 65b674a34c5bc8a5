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
from xctl_probe.linux.process_activity import Activity, Processes, SchedCounters
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.linux.socket_owners import Owners

_SEARCHES = 2  # through all of /proc for one inode each, in one look; more go together
_MOST_SEARCHED = 4096
_SAMPLES_WITHOUT_SLEEP = 2


class PeerState(Enum):
    """What the other end shows."""

    UNKNOWN = auto()  # it is not on this host, as far as this can be found out
    HIDDEN = auto()  # the peer has taken the request, and its process may not be inspected
    REQUEST_IN_FLIGHT = auto()  # the request has not arrived
    UNREAD = auto()  # nobody has taken the request out of the peer's queue
    REPLY_RETRANSMITTED = auto()  # the peer has answered, and its answer does not get through
    BUSY = auto()  # the peer has taken the request, and does something else
    UNKNOWN_ACTIVITY = auto()  # busy, or on its way back to its event loop
    WAITING_FOR_REQUEST = auto()  # the peer has taken the request, and waits for more from us


_UNSEEN = {Activity.UNKNOWN: PeerState.UNKNOWN, Activity.LATER: PeerState.UNKNOWN_ACTIVITY}


class Lookup(Protocol):
    """How the two ends of a connection are found."""

    def local_socket(self, of: Socket) -> SocketSnapshot | None:
        """The socket itself."""

    def peer_socket(self, of: Socket) -> SocketSnapshot | None:
        """The socket at the other end."""


@dataclass(slots=True)
class PeerObservation:
    """What earlier looks at the same wait have found."""

    state: PeerState | None = None
    peer: Process | None = None  # who has the other end
    counters: SchedCounters | None = None  # of the peer's threads, when it was last undecided
    samples_without_sleep: int = 0  # for how many looks on end it has been in the same


class PeerInspector:
    """Looks at the peers of waits; `begin` starts a look at many.

    Who shares `processes` among several begins them himself.
    """

    def __init__(
        self,
        lookup: Lookup,
        owners: Owners,
        processes: Processes | ProcessesAside | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._lookup = lookup
        self._owners = owners
        self._processes = processes or Processes()
        self._shared = shared
        self._searched: OrderedDict[int, None] = OrderedDict()  # inodes, the latest last
        self._wanted: dict[int, int | None] = {}  # and their user: the next look begins with them
        self._searches = 0

    def begin_sample(self) -> None:
        """Forget what the last look has read."""
        if not self._shared:
            self._processes.begin()
        self._searches = 0
        wanted, self._wanted = self._wanted, {}
        for asker in set(wanted.values()):
            self._search({inode for inode, uid in wanted.items() if uid == asker}, asker)

    def inspect(
        self, socket: Socket, observation: PeerObservation, *, delivered: bool | None = None
    ) -> PeerState:
        """What the far end of `socket` shows now; `past` is brought up to date.

        `delivered`: the request was acknowledged; None where that is to be found out.
        """
        with suppress(NotNow):
            try:
                if delivered is None:
                    local = self._lookup.local_socket(socket)
                    delivered = local is None or not local.unacknowledged_bytes
                observation.state = (
                    self._inspect(socket, observation) if delivered else PeerState.REQUEST_IN_FLIGHT
                )
            except NotEntered:
                observation.state = seen_from_here(socket)
        observation.state = observation.state or PeerState.UNKNOWN_ACTIVITY
        return observation.state

    def _inspect(self, socket: Socket, observation: PeerObservation) -> PeerState:
        peer_socket = self._lookup.peer_socket(socket)
        if peer_socket is None:
            return PeerState.UNKNOWN
        if peer_socket.unread_bytes:
            return PeerState.UNREAD
        if peer_socket.retransmits:
            return PeerState.REPLY_RETRANSMITTED
        peer = observation.peer = self._owner(peer_socket.inode, socket.uid)
        if peer is None:
            if not peer_socket.inode:
                return PeerState.UNKNOWN  # no process has it open
            if peer_socket.inode not in self._searched:
                return PeerState.UNKNOWN_ACTIVITY
            # Not found among all processes, it is held up or in flight: that excuses no wait.
            return PeerState.HIDDEN if self._owners.refused else PeerState.UNKNOWN
        if observation.state is PeerState.WAITING_FOR_REQUEST:
            # It has gone back to its loop once: what it does since is for somebody else.
            return (
                PeerState.BUSY
                if self._processes.stopped(peer.pid)
                else PeerState.WAITING_FOR_REQUEST
            )
        return self._activity_state(peer.pid, peer_socket.inode, observation)

    def keeps_listening(self, socket: Socket) -> bool:
        """True when the peer watches this connection, or may do so unseen.

        Said of a wait that is over: what its queue holds is younger.
        """
        try:
            peer_socket = self._lookup.peer_socket(socket)
        except NotNow:
            return True  # it may
        except NotEntered:
            return seen_from_here(socket) is PeerState.HIDDEN
        peer = self._owner(peer_socket.inode, socket.uid) if peer_socket else None
        if peer_socket is None or not peer_socket.inode:
            return False
        if peer is None:  # it may: its process is not searched for yet, or may not be read
            return peer_socket.inode not in self._searched or self._owners.refused
        observation = PeerObservation()
        return self._activity_state(peer.pid, peer_socket.inode, observation) is not PeerState.BUSY

    def _activity_state(self, pid: int, inode: int, observation: PeerObservation) -> PeerState:
        activity = self._processes.activity(pid, inode)
        if activity in _UNSEEN:
            return _UNSEEN[activity]
        if activity is Activity.WAITING_ON_SOCKET:
            return PeerState.WAITING_FOR_REQUEST
        if activity is not Activity.EVENT_LOOP_BUSY:
            return PeerState.BUSY
        # An event loop that answers others meanwhile runs, sleeps, runs: only one that is
        # found again and again in the same long step is busy with something, unless it is
        # the processor that it waits for.
        counters = self._processes.sched_counters(pid)
        same = observation.counters is not None and counters.has_not_slept_since(
            observation.counters
        )
        observation.samples_without_sleep, observation.counters = (
            observation.samples_without_sleep + 1 if same else 0,
            counters,
        )
        return (
            PeerState.BUSY
            if observation.samples_without_sleep >= _SAMPLES_WITHOUT_SLEEP
            else PeerState.UNKNOWN_ACTIVITY
        )

    def _owner(self, inode: int, asker: int | None) -> Process | None:
        if not self._owners.is_current(inode):
            if not inode or inode in self._searched:
                return None
            if self._searches >= _SEARCHES:
                self._wanted[inode] = asker
                return None
            self._searches += 1
            self._search({inode}, asker)
        return self._owners.get(inode)

    def _search(self, inodes: set[int], asker: int | None) -> None:
        unfinished = self._owners.search(inodes, asker)
        self._wanted |= dict.fromkeys(unfinished, asker)
        self._searched |= dict.fromkeys(inodes - unfinished)
        while len(self._searched) > _MOST_SEARCHED:
            self._owners.forget([self._searched.popitem(last=False)[0]])


def seen_from_here(socket: Socket) -> PeerState:
    """What is known of a peer where its socket cannot be found: is it on this host at all?"""
    remote = socket.remote_address
    here = remote == socket.local_address or ip_address(remote).is_loopback
    return PeerState.HIDDEN if here and socket.protocol == "tcp" else PeerState.UNKNOWN
