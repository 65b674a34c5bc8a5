"""The state of every wait for a reply that a source has evidence of.

A source says which wait it has evidence of.  Whether that is a stall is decided here, by what
the user has declared, by what the other end shows where it is on this host, and by what is
usual with that peer.  What the looks during a wait have found also decides about its end.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from xctl_probe.events import Cause, Process, Socket
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import (
    PeerInspector,
    PeerObservation,
    PeerState,
    seen_from_here,
)
from xctl_probe.stalls.request_history import RequestHistory, Usual

# The peer owes nothing, or may owe nothing: what is not seen is not asserted.
_SILENT = (PeerState.WAITING_FOR_REQUEST, PeerState.UNKNOWN_ACTIVITY, PeerState.HIDDEN)
_OWES_NOTHING = (PeerState.WAITING_FOR_REQUEST, PeerState.HIDDEN)
_MOST_WAITS = 16_384  # that are remembered
_AT_ONCE = 1_024  # waits whose other ends are looked at in one stall's length


class ReplyWait(NamedTuple):
    """A wait for a reply: since when (monotonic ns), on which socket, by whom.

    `delivered`: the request was acknowledged; None where the source does not know.  `usual` is
    how late the peer's answers are.
    """

    socket: Socket
    since_ns: int
    owner: Process | None
    history: RequestHistory | Usual
    delivered: bool | None = None


class ReplyStall(NamedTuple):
    """A stall: since when, its cause where the other end has shown it, and whether the request
    is on its way still.
    """

    since_ns: int
    cause: Cause | None = None
    in_flight: bool = False


@dataclass(slots=True)
class _WaitState:
    since_ns: int  # the wait began
    from_ns: int  # the stall began: later where the wait was one by agreement at first
    observed_ns: int = 0
    checked_ns: int | None = None  # when the other end was looked at
    idle_ns: int = 0  # when it was first found to wait for more
    peer: PeerObservation = field(default_factory=PeerObservation)
    stall: ReplyStall | None = None
    owner: int | None = None


class ReplyWaits:
    """All waits for replies of one source, by socket.

    `stall_ns` is the least length of a stall; `other_end` is None where nobody can look.
    """

    def __init__(
        self,
        stall_ns: int,
        ignored_peers: IgnoredPeers | None = None,
        other_end: PeerInspector | None = None,
    ) -> None:
        self._stall_ns = stall_ns
        self._ignored_peers = ignored_peers or IgnoredPeers()
        self._inspector = other_end
        self._waits: OrderedDict[int, _WaitState] = OrderedDict()
        self._stalled: dict[int, list[int]] = {}  # pid to when its stalled waits began
        self._new = 0

    def begin_sample(self) -> None:
        """Start a look at all that waits."""
        self._new = 0
        self._stalled.clear()
        for kept in self._waits.values():
            if kept.stall is not None and kept.owner is not None:
                self._stalled.setdefault(kept.owner, []).append(kept.since_ns)
        if self._inspector is not None:
            self._inspector.begin_sample()

    def observe(self, asked: ReplyWait, now_ns: int) -> ReplyStall | None:
        """The stall that this wait is now, None while it is none."""
        if self._is_ignored(asked):
            return None
        kept = self._state_of(asked)
        kept.observed_ns = now_ns
        self._check(asked, kept, now_ns)
        kept.stall = self._decide(asked, kept, now_ns)
        return kept.stall

    def close(self, asked: ReplyWait, end_ns: int) -> ReplyStall | None:
        """The stall that this wait was; None where it was none."""
        if self._is_ignored(asked):
            return None
        kept = self._waits.get(asked.socket.inode)
        # News of its end may come late, when the next wait on this socket is known already.
        if (
            kept is not None
            and kept.since_ns <= end_ns - self._stall_ns // 2
            and not self._is_another(kept, asked)
        ):
            del self._waits[asked.socket.inode]
            idle = kept.peer.state is PeerState.WAITING_FOR_REQUEST
            return None if idle and not self._peer_just_became_idle(kept, end_ns) else kept.stall
        if asked.delivered is False:
            return ReplyStall(asked.since_ns)
        if asked.history.is_within_usual_latency(end_ns - asked.since_ns):
            return None
        # No look has seen it: where the peer keeps listening, it may have been by agreement.
        if asked.socket.protocol == "tcp" and self._may_listen(asked):
            return None
        return ReplyStall(asked.since_ns)

    def _may_listen(self, asked: ReplyWait) -> bool:
        if self._inspector is None:
            return _from_this_end(asked) is PeerState.HIDDEN
        return self._inspector.keeps_listening(asked.socket)

    def _is_ignored(self, asked: ReplyWait) -> bool:
        return self._ignored_peers.matches(asked.socket.remote_address, asked.socket.remote_port)

    def _state_of(self, asked: ReplyWait) -> _WaitState:
        kept = self._waits.get(asked.socket.inode)
        if kept is None or self._is_another(kept, asked):
            kept = self._waits[asked.socket.inode] = _WaitState(asked.since_ns, asked.since_ns)
            if len(self._waits) > _MOST_WAITS:
                self._waits.popitem(last=False)
        self._waits.move_to_end(asked.socket.inode)
        kept.owner = asked.owner.pid if asked.owner else None
        return kept

    def _is_another(self, kept: _WaitState, asked: ReplyWait) -> bool:
        # When it was looked at, a wait had lasted a stall's length: one that begins after that
        # is another.  A beginning is known to a scheduler tick.
        return asked.since_ns > kept.observed_ns - self._stall_ns // 2

    def _check(self, asked: ReplyWait, kept: _WaitState, now_ns: int) -> None:
        """Look at the other end, as often as is affordable."""
        if kept.checked_ns is None:
            self._new += 1
            if self._new > _AT_ONCE:
                return
        elif now_ns - kept.checked_ns < self._stall_ns * (1 + len(self._waits) // _AT_ONCE):
            return
        before, kept.checked_ns = kept.peer.state, now_ns
        if self._inspector is None or asked.socket.protocol != "tcp":
            kept.peer.state = _from_this_end(asked)
            return
        found = self._inspector.inspect(asked.socket, kept.peer, delivered=asked.delivered)
        if found is PeerState.WAITING_FOR_REQUEST and before is not PeerState.WAITING_FOR_REQUEST:
            kept.idle_ns = now_ns
        if before in _OWES_NOTHING and found not in _OWES_NOTHING and kept.stall is None:
            kept.from_ns = now_ns  # until now all was as agreed, or may have been

    def _decide(self, asked: ReplyWait, kept: _WaitState, now_ns: int) -> ReplyStall | None:
        found = kept.peer.state
        if found is None or now_ns - kept.from_ns < self._stall_ns:
            return None
        if found is PeerState.UNKNOWN and asked.history.is_within_usual_latency(
            now_ns - kept.from_ns
        ):
            return None
        if found is PeerState.UNKNOWN_ACTIVITY and kept.stall is not None:
            return ReplyStall(kept.from_ns, kept.stall.cause)  # nothing has ended it
        if self._peer_just_became_idle(kept, now_ns):
            return kept.stall
        if found in _SILENT and not self._peer_is_stalled_upstream(kept):
            return None
        cause = Cause.LOSS if found is PeerState.REPLY_RETRANSMITTED else None
        return ReplyStall(kept.from_ns, cause, found is PeerState.REQUEST_IN_FLIGHT)

    def _peer_just_became_idle(self, kept: _WaitState, now_ns: int) -> bool:
        """Told as a stall, and now the peer waits for more: has it answered?

        Then it went back to its loop between the look at our end and the one at its own.  What
        waits at the next look, too, does so by agreement.
        """
        idle = kept.peer.state is PeerState.WAITING_FOR_REQUEST
        return idle and kept.stall is not None and now_ns - kept.idle_ns < self._stall_ns

    def _peer_is_stalled_upstream(self, kept: _WaitState) -> bool:
        """Did the peer, as soon as it was asked, ask somebody else, and is it stalled there?

        So does a proxy: whose answer is outstanding is then not its own agreement with us.
        """
        peer = kept.peer.peer
        if peer is None or peer.pid == kept.owner:
            return False
        asked = self._stalled.get(peer.pid, ())
        return any(0 <= since_ns - kept.since_ns < self._stall_ns for since_ns in asked)


def _from_this_end(asked: ReplyWait) -> PeerState:
    """What is known of a peer where no other end can be found."""
    if asked.delivered is False:
        return PeerState.REQUEST_IN_FLIGHT
    return seen_from_here(asked.socket)
