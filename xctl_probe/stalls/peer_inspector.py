"""State of the peer of a wait, where the peer is on this host.

In an expected wait (a blocking read of a queue, a long poll), the peer has read the request and
waits for more on the same connection.
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
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.process_activity import (
    Activity,
    OwnActivity,
    Processes,
    SchedCounters,
    Work,
)
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.stalls.failed_searches import is_due

_SEARCHES = 2  # of all of /proc for a single inode, in one sample; others are combined
_MOST_SEARCHED = 4096
_SAMPLES_WITHOUT_SLEEP = 2
_RAN_WITHOUT_SLEEP_NS = 1_000_000_000


class PeerState(Enum):
    """State of the peer, as its socket and its process show it."""

    UNKNOWN = auto()  # not on this host, or not found
    HIDDEN = auto()  # the peer may have read the request; what its process waits for is unreadable
    REQUEST_IN_FLIGHT = auto()  # the request has not arrived
    UNREAD = auto()  # the request is in the receive queue of the peer
    REPLY_RETRANSMITTED = auto()  # the peer retransmits its reply
    BUSY = auto()  # the peer has read the request, and is active elsewhere
    UNKNOWN_ACTIVITY = auto()  # busy, or about to return to its event loop
    WAITING_FOR_REQUEST = (
        auto()
    )  # the peer has read the request, and waits for more on this connection


_UNSEEN = {
    Activity.UNKNOWN: PeerState.UNKNOWN,
    Activity.LATER: PeerState.UNKNOWN_ACTIVITY,
    Activity.UNDECIDED: PeerState.HIDDEN,
}


class Lookup(Protocol):
    """Lookup of both sockets of a connection."""

    def local_socket(self, of: Socket) -> SocketSnapshot | None:
        """Return the local socket, None where it is not found."""

    def peer_socket(self, of: Socket) -> SocketSnapshot | None:
        """Return the peer socket, None where it is not found."""


@dataclass(slots=True)
class PeerObservation:
    """Results of earlier samples of the same wait, which began at `since_ns` (monotonic)."""

    since_ns: int = 0
    state: PeerState | None = None
    peer: Process | None = None  # owner of the peer socket
    counters: SchedCounters | None = None  # of the peer's threads, when last undecided
    samples_without_sleep: int = 0  # consecutive samples
    since_sleep: SchedCounters | None = None  # the first ones since their last sleep
    late: bool = False  # the answer was not there in time: the next sample may have it


class PeerInspector:
    """Inspects the peers of waits; `begin_sample` starts a sample of many.

    A caller that shares `processes` among several inspectors (`shared`) starts their samples.
    """

    def __init__(
        self,
        lookup: Lookup,
        owners: Owners | OwnersAside,
        processes: Processes | ProcessesAside | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._lookup = lookup
        self._owners = owners
        self._processes = processes or Processes()
        self._shared = shared
        # Inodes, latest last; and how often one without an owner was asked for since.
        self._searched: OrderedDict[int, int] = OrderedDict()
        self._wanted: dict[int, int | None] = {}  # inode -> user: searched first in the next sample
        self._searches = 0

    def begin_sample(self) -> None:
        """Start a sample: forget what was read for the last one."""
        if not self._shared:
            self._processes.begin()
        self._owners.begin_sample()
        self._searches = 0
        wanted, self._wanted = self._wanted, {}
        for asker in set(wanted.values()):
            self._search({inode for inode, uid in wanted.items() if uid == asker}, asker)

    def inspect(
        self, socket: Socket, observation: PeerObservation, *, delivered: bool | None = None
    ) -> PeerState:
        """Return the current state of the peer of `socket`, and update `observation`.

        `delivered`: the request is acknowledged; None: unknown.
        """
        observation.late = False
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
                observation.late = True
                return PeerState.UNKNOWN_ACTIVITY
            # Its owner is not among all processes: the socket is in transit between processes,
            # or its owner is stopped.  Neither makes the wait an expected one.
            return PeerState.HIDDEN if self._owners.refused else PeerState.UNKNOWN
        if observation.state is PeerState.WAITING_FOR_REQUEST:
            # It has returned to its event loop: its later activity is for other connections.
            return (
                PeerState.BUSY
                if self._processes.stopped(peer.pid)
                else PeerState.WAITING_FOR_REQUEST
            )
        return self._activity_state(peer.pid, peer_socket.inode, observation)

    def own_activity(self, pid: int, inode: int, since_ns: int) -> OwnActivity:
        """Return the activity of the process that may wait on the socket `inode` since then."""
        return self._processes.own_activity(pid, inode, since_ns)

    def work(self, pid: int) -> Work | None:
        """Return the CPU time of the threads of a peer whose event loop is idle."""
        return self._processes.work(pid)

    def keeps_listening(self, socket: Socket) -> bool:
        """True when the peer monitors this connection, or may.

        For a wait that is over: data in the queue of the peer is younger.
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
        if peer is None:  # it may: its owner is not searched for yet, or unreadable
            return peer_socket.inode not in self._searched or self._owners.refused
        observation = PeerObservation()
        return self._activity_state(peer.pid, peer_socket.inode, observation) is not PeerState.BUSY

    def _activity_state(self, pid: int, inode: int, observation: PeerObservation) -> PeerState:
        activity = self._processes.activity(pid, inode, observation.since_ns)
        observation.late = activity is Activity.LATER
        if activity in _UNSEEN:
            return _UNSEEN[activity]
        if activity is Activity.WAITING_ON_SOCKET:
            return PeerState.WAITING_FOR_REQUEST
        if activity is not Activity.EVENT_LOOP_BUSY:
            return PeerState.BUSY
        # An event loop that serves other connections runs and sleeps in turns.  Only one that
        # does not sleep for several samples is busy, unless it waits for a CPU: then one that has
        # run for long.
        counters = self._processes.sched_counters(pid)
        same = observation.counters is not None and counters.has_not_slept_since(
            observation.counters
        )
        observation.samples_without_sleep, observation.counters = (
            observation.samples_without_sleep + 1 if same else 0,
            counters,
        )
        if observation.since_sleep is None or observation.since_sleep.sleeps != counters.sleeps:
            observation.since_sleep = counters
        ran_ns = counters.ran_ns - observation.since_sleep.ran_ns
        busy = (
            observation.samples_without_sleep >= _SAMPLES_WITHOUT_SLEEP
            or ran_ns >= _RAN_WITHOUT_SLEEP_NS
        )
        return PeerState.BUSY if busy else PeerState.UNKNOWN_ACTIVITY

    def _owner(self, inode: int, asker: int | None) -> Process | None:
        if not self._owners.is_current(inode):
            if not inode or (inode in self._searched and not self._is_due_again(inode)):
                return None
            if self._searches >= _SEARCHES:
                self._wanted[inode] = asker
                return None
            self._searches += 1
            self._search({inode}, asker)
        return self._owners.get(inode)

    def _is_due_again(self, inode: int) -> bool:
        self._searched[inode] += 1
        return is_due(self._searched[inode])

    def _search(self, inodes: set[int], asker: int | None) -> None:
        unfinished = self._owners.search(inodes, asker)
        self._wanted |= dict.fromkeys(unfinished, asker)
        for inode in inodes - unfinished:
            self._searched.setdefault(inode, 0)
        while len(self._searched) > _MOST_SEARCHED:
            self._owners.forget([self._searched.popitem(last=False)[0]])


def seen_from_here(socket: Socket) -> PeerState:
    """Return the state of a peer whose socket cannot be found: on this host (HIDDEN) or not."""
    remote = socket.remote_address
    here = remote == socket.local_address or ip_address(remote).is_loopback
    return PeerState.HIDDEN if here and socket.protocol == "tcp" else PeerState.UNKNOWN
