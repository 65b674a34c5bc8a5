"""The processes that stalled processes wait for, where they are on this host.

Only what was seen: a peer on another host, and one whose owner may not be read, is left out.  What
a peer is seen to do has no influence on what a stall is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from xctl_probe.events import Direction, PeerActivity, Process, Socket, Stall
from xctl_probe.fair import choose
from xctl_probe.linux.netns import NotEntered, NotNow
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.process_activity import Activity, Processes
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.linux.thread_states import ThreadStates
from xctl_probe.stalls.failed_searches import is_due

_MOST_STALLS = 256  # whose peers one drain looks up, of all users
_MOST_KEPT = 4_096
_HELD = (PeerActivity.FROZEN, PeerActivity.STOPPED)

# Returns the peer socket of a connection; the set keeps the namespaces that do not have it.
Find = Callable[[Socket, set[int]], SocketSnapshot | None]


class States(Protocol):
    """Reader of what a process is seen to do."""

    def begin(self) -> None:
        """Start a sample."""

    def of(self, pid: int) -> PeerActivity | None:
        """Return the state of a process."""

    def is_partial(self, pid: int) -> bool:
        """True where a state of None means that it is not known."""


@dataclass(slots=True)
class _Known:
    """What is known of one peer: its socket is looked up again in each sample."""

    process: Process | None = None
    tried: set[int] = field(default_factory=set)  # namespaces without the peer
    seen: SocketSnapshot | None = None


class _Key(NamedTuple):
    inode: int
    direction: Direction
    remote_port: int


class PeerProcesses:
    """Names the peers of stalls, for one source.

    `find` looks up a peer socket; `owners` searches for its process within a budget, so that a peer
    may be named a sample later.
    """

    def __init__(
        self,
        find: Find,
        owners: Owners | OwnersAside,
        processes: Processes | ProcessesAside,
        states: States | None = None,
    ) -> None:
        self._find = find
        self._owners = owners
        self._processes = processes
        self._states = states or ThreadStates()
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._turn = 0  # of the stalls, where there are too many
        # Inodes whose owner is none that may be read, and in how many drains since.
        self._searched: dict[int, int] = {}

    def named(self, stalls: Iterable[Stall]) -> list[Stall]:
        """Return the stalls of one drain with their peers.

        A stall that is over has the peer that was known before, and no activity.
        """
        stalls = list(stalls)
        self._states.begin()
        for known in self._known.values():
            known.seen = None
        chosen = self._chosen(stalls)
        for stall in chosen:
            self._find_socket(stall)
        self._resolve(chosen)
        waiting = {stall.owner.pid for stall in stalls if stall.owner and stall.ongoing}
        found = [self._with_peer(stall, waiting) for stall in stalls]
        for stall in stalls:
            if not stall.ongoing:
                self._known.pop(_key(stall), None)
        while len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
        return found

    def _chosen(self, stalls: list[Stall]) -> list[Stall]:
        """Return the stalls whose peers this drain looks up, shared by user and process."""
        numbers: dict[int | None, dict[Process | None, list[int]]] = {}
        for number, stall in enumerate(stalls):
            if stall.ongoing and _has_peer(stall):
                of_user = numbers.setdefault(stall.socket.uid, {})
                of_user.setdefault(stall.owner, []).append(number)
        self._turn += 1
        kept, _ = choose(numbers, _MOST_STALLS, _MOST_STALLS, self._turn)
        return [stalls[number] for number in kept]

    def _find_socket(self, stall: Stall) -> None:
        known = self._known.setdefault(_key(stall), _Known())
        self._known.move_to_end(_key(stall))
        with suppress(NotNow, NotEntered):
            known.seen = self._find(stall.socket, known.tried)

    def _resolve(self, stalls: list[Stall]) -> None:
        """Search for the owners of the peer sockets: one search for each user that waits."""
        wanted: dict[int | None, set[int]] = {}
        inodes = {known.seen.inode for known in self._known.values() if known.seen}
        self._searched = {one: n + 1 for one, n in self._searched.items() if one in inodes}
        in_vain = {inode for inode, drains in self._searched.items() if not is_due(drains)}
        missing = self._owners.stale(inodes - {0} - in_vain)
        for stall in stalls:
            seen = self._known[_key(stall)].seen
            if seen is not None and seen.inode in missing:
                wanted.setdefault(stall.socket.uid, set()).add(seen.inode)
        for uid, theirs in wanted.items():
            unfinished = self._owners.search(theirs, uid)
            for inode in theirs:
                if inode in unfinished or self._owners.get(inode) is not None:
                    self._searched.pop(inode, None)
                else:
                    self._searched.setdefault(inode, 0)
        for known in self._known.values():
            if known.seen is not None:
                known.process = self._owners.get(known.seen.inode) if known.seen.inode else None

    def _with_peer(self, stall: Stall, waiting: set[int]) -> Stall:
        known = self._known.get(_key(stall))
        if known is None:
            return stall
        if not stall.ongoing:
            return replace(stall, peer=known.process) if known.process else stall
        if known.seen is None:  # not looked up in this drain, or not found any more
            return stall
        activity = self._activity(stall, known.seen, known.process, waiting)
        return replace(stall, peer=known.process, peer_activity=activity)

    def _activity(
        self, stall: Stall, seen: SocketSnapshot, peer: Process | None, waiting: set[int]
    ) -> PeerActivity | None:
        unread = PeerActivity.UNREAD if seen.unread_bytes else None
        if peer is None:
            return unread
        state = self._states.of(peer.pid)
        if state in _HELD:
            return state
        if peer.pid in waiting and (stall.owner is None or peer.pid != stall.owner.pid):
            return PeerActivity.WAITING
        return state or unread or self._elsewhere(stall, seen, peer)

    def _elsewhere(self, stall: Stall, seen: SocketSnapshot, peer: Process) -> PeerActivity | None:
        """Return `ELSEWHERE` where the peer was seen in other calls than for this connection."""
        if stall.direction is not Direction.RECEIVE or self._states.is_partial(peer.pid):
            return None
        activity = self._processes.activity(peer.pid, seen.inode)
        return PeerActivity.ELSEWHERE if activity is Activity.OTHER else None


def _has_peer(stall: Stall) -> bool:
    return stall.socket.protocol == "tcp" and stall.direction is not Direction.CONNECT


def _key(stall: Stall) -> _Key:
    return _Key(stall.socket.inode, stall.direction, stall.socket.remote_port)
