"""State of every wait for a reply: stall or expected wait.

A source passes the waits that it has evidence of.  This module decides which of them are stalls: by
the ignored peers, by the state of a peer on this host, and by the usual latency of the peer.  The
samples of a wait also decide about its last report.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from xctl_probe.events import Cause, Process, Socket
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.own_state import OwnState
from xctl_probe.stalls.peer_inspector import (
    PeerInspector,
    PeerObservation,
    PeerState,
    seen_from_here,
)
from xctl_probe.stalls.peer_work import PeerWork
from xctl_probe.stalls.policy import NS_PER_MS, TICK_MS
from xctl_probe.stalls.request_history import MUCH_LONGER, RequestHistory, Usual

# An expected wait, or maybe one: without evidence there is no report.
_SILENT = (PeerState.WAITING_FOR_REQUEST, PeerState.UNKNOWN_ACTIVITY, PeerState.HIDDEN)
_IN_TRANSFER = (PeerState.BUSY, PeerState.REPLY_RETRANSMITTED)  # of a sender that never was idle
_NOT_READ = (PeerState.UNKNOWN, PeerState.UNKNOWN_ACTIVITY)
_OWES_NOTHING = (PeerState.WAITING_FOR_REQUEST, PeerState.HIDDEN)
_MOST_WAITS = 16_384  # kept at a time
_MISSING = 1  # samples that may not have a wait that goes on: of very many, each has a part
_FORGOTTEN_NS = 10_000_000_000  # since the last sample of a wait
# Stall lengths: so long before a wait is a stall its process is read for the first time, and so
# often from then on; less often during a stall, and never in a wait that is shorter than that.
_EARLIER, _SELDOM = 2, 5
_MOST_HOPS = 32  # of a ring of equals on one host
_AT_ONCE = 1_024  # waits whose peers are inspected within one stall length
_AGAIN_AT_ONCE = 32  # waits that are inspected again in the next sample, as an answer was late


class ReplyWait(NamedTuple):
    """A wait for a reply: begin (monotonic, ns), socket, process.

    `history` has the usual latency of the peer.  `delivered`: the request is acknowledged; None
    where the source does not know.  `blocked`: a thread was seen in a receive on the socket.
    `lost`: the kernel retransmits the request.  One that is only in flight may have arrived: its
    acknowledgement is delayed up to 200 ms.  `symmetric`: the peer is an equal.  `announced`: the
    process has announced itself to its equal, which always answered soon.  `client`: the rules for
    a client apply; without them, only an announcement or what an equal has not read is evidence.
    `transfer`: no request is outstanding, and a transfer to this side has paused, or is complete.
    `answered_elsewhere`: the peer has answered the process on another connection since.
    `answered_lately`: it has done so within ANSWERS_APART_NS, also before the wait, and no reply is
    late there; None: not known yet.
    `one_sided`: the process sends more messages here than it gets, and its turns are not known.
    """

    socket: Socket
    since_ns: int
    owner: Process | None
    history: RequestHistory | Usual
    delivered: bool | None = None
    blocked: bool = False
    lost: bool = False
    symmetric: bool = False
    announced: bool = False
    client: bool = True
    transfer: bool = False
    answered_elsewhere: bool = False
    answered_lately: bool | None = False
    one_sided: bool = False

    @property
    def may_be_complete(self) -> bool:
        """True for a transfer of which no thread waits for more: an event loop may, or none."""
        return self.transfer and not self.blocked


class ReplyStall(NamedTuple):
    """A stall: begin, cause where the peer shows one, and whether the request is in flight.

    `probable`: it may be an expected wait, which the stream writes on request only.  `by_silence`:
    neither the peer nor a thread in a receive shows it, so it may be an expected wait where the
    peer has answered the process on another connection.
    """

    since_ns: int
    cause: Cause | None = None
    in_flight: bool = False
    probable: bool = False
    by_silence: bool = False


@dataclass(slots=True)
class _WaitState:
    since_ns: int  # the wait began
    from_ns: int  # the stall began: later after an expected wait
    observed_ns: int = 0
    sample: int = 0  # number of the sample
    checked_ns: int | None = None  # last inspection of the peer
    idle_ns: int = 0  # when the peer was first found to wait for more
    peer: PeerObservation = field(default_factory=PeerObservation)
    work: PeerWork = field(default_factory=PeerWork)  # of a peer whose event loop is idle
    own: OwnState = field(default_factory=OwnState)
    stall: ReplyStall | None = None  # one that is not only likely
    likely: ReplyStall | None = None
    owner: int | None = None
    hops: int = 0  # between equals, to the one that waits for the one that does not read
    announced: bool = False  # as of the wait
    blocked: bool = False  # in any sample
    answered_elsewhere: bool = False  # in any sample

    @property
    def is_complete(self) -> bool:
        """True once the sender of a transfer was seen idle, or cannot be seen: on another host.

        One that is known here may only not have been read in time.
        """
        unseen = self.peer.state in (PeerState.UNKNOWN, PeerState.HIDDEN)
        return bool(self.idle_ns) or (unseen and self.peer.peer is None)


class ReplyWaits:
    """Waits for replies of one source, by socket.

    `stall_ns` is the stall length; `other_end` inspects peers, None where that is impossible.
    `reply_ns` is the stall length of a wait for a peer that has the request, if it is longer.
    `forget`: waits that no sample has had for long are over, as none is closed.  A wait for a peer
    that seems idle, or is hidden, is probable where it always replied soon.
    """

    def __init__(
        self,
        stall_ns: int,
        ignored_peers: IgnoredPeers | None = None,
        other_end: PeerInspector | None = None,
        reply_ns: int = 0,
        *,
        forget: bool = False,
    ) -> None:
        self._forget = forget
        self._stall_ns = stall_ns
        self.reply_ns = max(reply_ns, stall_ns)
        self._ignored_peers = ignored_peers or IgnoredPeers()
        self._inspector = other_end
        self._waits: OrderedDict[int, _WaitState] = OrderedDict()
        # pid -> begins of its stalled waits, and their hops
        self._stalled: dict[int, list[tuple[int, int]]] = {}
        self._stalled_now: dict[int, list[int]] = {}  # the same, of this sample so far
        # pid -> begins of stalled waits for it, of equals that have announced themselves to it
        self._awaited: dict[int, list[int]] = {}
        self._new = self._again = 0
        self._sample = 0
        self._sampled_ns = 0  # when the latest wait was observed
        self._lasting = 0  # waits in the samples before

    def begin_sample(self) -> None:
        """Start a sample of all waits."""
        self._new = self._again = self._lasting = 0
        self._stalled.clear()
        self._stalled_now.clear()
        self._awaited.clear()
        before, self._sample = self._sample, self._sample + 1
        if self._forget:
            earliest_ns = self._sampled_ns - _FORGOTTEN_NS
            for inode in [i for i, kept in self._waits.items() if kept.observed_ns < earliest_ns]:
                del self._waits[inode]
        for kept in self._waits.values():
            if before - kept.sample > _MISSING:
                continue
            self._lasting += 1
            if kept.stall is not None and kept.owner is not None:
                self._stalled.setdefault(kept.owner, []).append((kept.since_ns, kept.hops))
                if kept.announced and kept.peer.peer is not None:
                    self._awaited.setdefault(kept.peer.peer.pid, []).append(kept.since_ns)
        if self._inspector is not None:
            self._inspector.begin_sample()

    def observe(self, asked: ReplyWait, now_ns: int) -> ReplyStall | None:
        """Return the stall if this wait currently counts as one, else None."""
        if self._is_ignored(asked):
            return None
        kept = self._state_of(asked)
        kept.observed_ns, kept.announced = now_ns, asked.announced
        kept.blocked |= asked.blocked
        kept.answered_elsewhere |= asked.answered_elsewhere
        kept.sample, self._sampled_ns = self._sample, max(self._sampled_ns, now_ns)
        self._check(asked, kept, now_ns)
        found = self._decide(asked, kept, now_ns)
        likely = found is not None and found.probable
        kept.stall, kept.likely = (None, found) if likely else (found, None)
        if kept.stall is not None and kept.owner is not None:
            self._stalled_now.setdefault(kept.owner, []).append(kept.since_ns)
        return found

    def close(self, asked: ReplyWait, end_ns: int) -> ReplyStall | None:
        """Return the stall that this finished wait was, None where it was none."""
        if self._is_ignored(asked):
            return None
        kept = self._waits.get(asked.socket.inode)
        # Its end event may be late, after the next wait on this socket has been observed.
        if (
            kept is not None
            and kept.since_ns <= end_ns - self._stall_ns // 2
            and not self._is_another(kept, asked)
        ):
            del self._waits[asked.socket.inode]
            if kept.likely is not None:
                return kept.likely
            # At the end, a loop that reads at once seems to have sat in the receive.
            asked = asked._replace(blocked=kept.blocked, answered_elsewhere=kept.answered_elsewhere)
            idle = kept.peer.state is PeerState.WAITING_FOR_REQUEST and not kept.work.computes
            if idle and not self._peer_just_became_idle(kept, end_ns):
                return None
            return kept.stall or (
                None if kept.own.is_elsewhere else self._decide(asked, kept, end_ns, over=True)
            )
        if not asked.client or asked.may_be_complete:
            return None  # no sample has found what it waits for
        if asked.delivered is False:
            return ReplyStall(asked.since_ns)
        lasted_ns = end_ns - asked.since_ns
        if lasted_ns < self.reply_ns or asked.history.is_within_usual_latency(lasted_ns):
            return None
        # No sample has found it.  Where the peer still monitors the connection, it may have been
        # an expected wait.
        if asked.socket.protocol == "tcp" and self._may_listen(asked):
            return None
        by_silence = _is_by_silence(asked)
        if by_silence and _may_be_expected(asked):
            return None
        return ReplyStall(asked.since_ns, by_silence=by_silence)

    def _may_listen(self, asked: ReplyWait) -> bool:
        if self._inspector is None:
            return _from_this_end(asked) is PeerState.HIDDEN
        return self._inspector.keeps_listening(asked.socket)

    def _is_ignored(self, asked: ReplyWait) -> bool:
        return self._ignored_peers.matches(asked.socket.remote_address, asked.socket.remote_port)

    def _state_of(self, asked: ReplyWait) -> _WaitState:
        kept = self._waits.get(asked.socket.inode)
        if kept is None or self._is_another(kept, asked):
            kept = _WaitState(asked.since_ns, asked.since_ns, peer=PeerObservation(asked.since_ns))
            self._waits[asked.socket.inode] = kept
            if len(self._waits) > _MOST_WAITS:
                self._waits.popitem(last=False)
        self._waits.move_to_end(asked.socket.inode)
        kept.owner = asked.owner.pid if asked.owner else None
        return kept

    def _is_another(self, kept: _WaitState, asked: ReplyWait) -> bool:
        # A wait is inspected after a stall length at the earliest: one that begins after the
        # inspection is another.  Begins are exact to a scheduler tick.
        return asked.since_ns > kept.observed_ns - self._stall_ns // 2

    def _check(self, asked: ReplyWait, kept: _WaitState, now_ns: int) -> None:
        """Inspect the peer, as often as the limit allows."""
        if asked.may_be_complete and kept.is_complete:
            return
        if kept.checked_ns is None:
            self._new += 1
            if self._new > _AT_ONCE:
                return
        elif (kept.peer.late or kept.own.late) and self._again < _AGAIN_AT_ONCE:
            # An answer that is late serves the next sample only.
            self._again += 1
        elif now_ns - kept.checked_ns < self._stall_ns * (1 + self._lasting // _AT_ONCE):
            return
        kept.checked_ns = now_ns
        if self._inspector is None or asked.socket.protocol != "tcp":
            kept.peer.state = _from_this_end(asked)
        else:
            self._inspect_peer(self._inspector, asked, kept, now_ns)
        self._check_own(asked, kept, now_ns)

    def _inspect_peer(
        self, inspector: PeerInspector, asked: ReplyWait, kept: _WaitState, now_ns: int
    ) -> None:
        before = kept.peer.state
        found = inspector.inspect(asked.socket, kept.peer, delivered=asked.delivered)
        if found is PeerState.WAITING_FOR_REQUEST and before is not PeerState.WAITING_FOR_REQUEST:
            kept.idle_ns = now_ns
        if before in _OWES_NOTHING and found not in _OWES_NOTHING and not kept.stall:
            kept.from_ns = now_ns  # until now it was an expected wait, or maybe one
        self._note_work(inspector, asked, kept, now_ns)

    def _note_work(
        self, inspector: PeerInspector, asked: ReplyWait, kept: _WaitState, now_ns: int
    ) -> None:
        """Read what an idle peer that always replied soon computes, once its reply is late."""
        peer = kept.peer.peer
        idle = kept.peer.state is PeerState.WAITING_FOR_REQUEST
        if not idle or peer is None or peer.pid == kept.owner:
            kept.work = PeerWork()
        elif asked.history.is_prompt() and now_ns - kept.from_ns >= self.reply_ns // 2:
            kept.work.note(lambda: inspector.work(peer.pid), now_ns, self.reply_ns // 2)

    def _check_own(self, asked: ReplyWait, kept: _WaitState, now_ns: int) -> None:
        """Read what the process itself does, once its wait is about to be a stall."""
        if self._inspector is None or asked.owner is None or asked.blocked:
            kept.own = OwnState()
            return
        if kept.own.seen_ns is None:
            early_ns = self._least_ns(asked, kept) - _EARLIER * self._stall_ns
            due_ns = kept.from_ns + max(early_ns, _SELDOM * self._stall_ns)
        else:
            seldom = _SELDOM if kept.stall and not kept.own.elsewhere else _EARLIER
            due_ns = kept.own.seen_ns + (seldom if kept.own.elsewhere != 1 else 0) * self._stall_ns
        if now_ns < due_ns:
            return
        seen = self._inspector.own_activity(asked.owner.pid, asked.socket.inode, asked.since_ns)
        kept.own.note(seen, now_ns, may_poll=kept.peer.state is PeerState.UNREAD)
        if kept.own.is_elsewhere:
            kept.from_ns = now_ns  # until now the process did not wait

    def _least_ns(self, asked: ReplyWait, kept: _WaitState) -> int:
        """Return the length from which the wait is a stall: less where the network loses data."""
        lossy = asked.lost or kept.peer.state is PeerState.REPLY_RETRANSMITTED
        return self._stall_ns if lossy else self.reply_ns

    def _decide(
        self, asked: ReplyWait, kept: _WaitState, now_ns: int, *, over: bool = False
    ) -> ReplyStall | None:
        found = kept.peer.state
        if found is None or now_ns - kept.from_ns < self._least_ns(asked, kept):
            return None
        # One sample may have found a thread on its way: the next one, or the end, decides.
        if kept.own.is_undecided and not (kept.stall or asked.blocked or over):
            return None
        usual = asked.history.is_within_usual_latency(now_ns - kept.from_ns)
        announced = asked.announced and not usual
        if asked.symmetric and (announced or self._is_stalled_by_equal(kept, found)):
            return ReplyStall(kept.from_ns)
        if not asked.client:
            return None
        cause = Cause.LOSS if found is PeerState.REPLY_RETRANSMITTED else None
        if asked.may_be_complete:
            # A stall is not over because its peer was not read in time.
            may_go_on = found in _NOT_READ and kept.stall is not None
            broken_off = (found in _IN_TRANSFER or may_go_on) and not kept.is_complete
            if broken_off or self._peer_is_stalled_upstream(asked, kept):
                return ReplyStall(kept.from_ns, cause)
            return None
        if found is PeerState.UNKNOWN and usual and kept.stall is None:
            return None  # a stall is not over because its peer can no more be inspected
        if found is PeerState.UNKNOWN_ACTIVITY and kept.stall is not None:
            return kept.stall._replace(since_ns=kept.from_ns, in_flight=False)  # still ongoing
        if self._peer_just_became_idle(kept, now_ns):
            return kept.stall
        at_work = kept.work.computes or self._peer_is_stalled_upstream(asked, kept)
        by_silence = found is PeerState.UNKNOWN and _is_by_silence(asked)
        if by_silence and asked.answered_lately is None and kept.stall is None:
            return None
        unseen = by_silence and _may_be_expected(asked, stalled=kept.stall is not None)
        if (found in _SILENT and not at_work) or unseen:
            probable = self._is_probable(asked, kept, now_ns)
            return ReplyStall(kept.from_ns, probable=True) if probable else None
        in_flight = found is PeerState.REQUEST_IN_FLIGHT
        return ReplyStall(kept.from_ns, cause, in_flight, by_silence=by_silence)

    def _is_probable(self, asked: ReplyWait, kept: _WaitState, now_ns: int) -> bool:
        """True when the peer may have lost the request: it always replied far sooner."""
        waited_ns = now_ns - kept.from_ns
        if waited_ns < MUCH_LONGER * self.reply_ns or kept.own.is_elsewhere:
            return False
        return asked.history.is_prompt() and not asked.history.is_within_usual_latency(waited_ns)

    def _peer_just_became_idle(self, kept: _WaitState, now_ns: int) -> bool:
        """True when the peer of a reported stall has been idle for less than a stall length.

        It may have replied and returned to its event loop between the reads of the two sockets.  If
        the peer is still idle at the next sample, the wait is an expected one.
        """
        idle = kept.peer.state is PeerState.WAITING_FOR_REQUEST
        return idle and kept.stall is not None and now_ns - kept.idle_ns < self._stall_ns

    def _peer_is_stalled_upstream(self, asked: ReplyWait, kept: _WaitState) -> bool:
        """True when the peer forwarded the request within a stall length and is stalled itself.

        A proxy that is stalled upstream is not idle; the wait for it is a stall.  What it passes on
        of a transfer, it has received just before.
        """
        peer = kept.peer.peer
        if peer is None or peer.pid == kept.owner:
            return False
        before_ns = self._stall_ns - 1 if asked.transfer else TICK_MS * NS_PER_MS
        earliest_ns = kept.since_ns - before_ns
        latest_ns = kept.since_ns + self._stall_ns
        upstream = [since_ns for since_ns, _ in self._stalled.get(peer.pid, ())]
        upstream += self._stalled_now.get(peer.pid, ())
        return any(earliest_ns <= since_ns < latest_ns for since_ns in upstream)

    def _is_stalled_by_equal(self, kept: _WaitState, found: PeerState) -> bool:
        """True when an equal has not read what was sent, or keeps another waiting, or is stalled.

        The last, as in a ring.  Without one that has not read, the number of hops grows with each
        sample until it is over: two equals do not keep each other stalled.
        """
        if found is PeerState.UNREAD:
            kept.hops = 0
            return True
        peer = kept.peer.peer
        if peer is None or peer.pid == kept.owner:
            return False
        if peer.pid not in self._stalled and any(
            abs(since_ns - kept.since_ns) < self.reply_ns
            for since_ns in self._awaited.get(peer.pid, ())
        ):
            kept.hops = 0
            return True
        hops = [
            hops
            for since_ns, hops in self._stalled.get(peer.pid, ())
            if abs(since_ns - kept.since_ns) < self.reply_ns and hops < _MOST_HOPS
        ]
        kept.hops = min(hops) + 1 if hops else 0
        return bool(hops)


def _is_by_silence(asked: ReplyWait) -> bool:
    """True on a stream where no thread is in a receive: of an event loop, maybe."""
    return not asked.blocked and asked.socket.protocol == "tcp"


def _may_be_expected(asked: ReplyWait, *, stalled: bool = False) -> bool:
    """True where the history does not show that a reply is due from a peer that cannot be seen.

    The first requests of an event loop may be long polls.  A stall (`stalled`) goes on.
    """
    if asked.answered_elsewhere or asked.one_sided:
        return True
    return not stalled and bool(asked.answered_lately or not asked.history.is_known())


def _from_this_end(asked: ReplyWait) -> PeerState:
    """Return the state of a peer without a peer socket."""
    if asked.delivered is False:
        return PeerState.REQUEST_IN_FLIGHT
    return seen_from_here(asked.socket)
