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
from xctl_probe.stalls.ignored_peers import Patient
from xctl_probe.stalls.peer_inspector import Finding, OtherEnd, Past, seen_from_here
from xctl_probe.stalls.request_history import Dialogue, Usual

# The peer owes nothing, or may owe nothing: what is not seen is not asserted.
_SILENT = (Finding.AGREED, Finding.UNDECIDED, Finding.HIDDEN)
_OWES_NOTHING = (Finding.AGREED, Finding.HIDDEN)
_MOST_WAITS = 16_384  # that are remembered
_AT_ONCE = 1_024  # waits whose other ends are looked at in one stall's length


class Asked(NamedTuple):
    """A wait for a reply: since when (monotonic ns), on which socket, by whom.

    `delivered`: the request was acknowledged; None where the source does not know.  `usual` is
    how late the peer's answers are.
    """

    socket: Socket
    since_ns: int
    owner: Process | None
    usual: Dialogue | Usual
    delivered: bool | None = None


class Told(NamedTuple):
    """A stall: since when, its cause where the other end has shown it, and whether the request
    is on its way still.
    """

    since_ns: int
    cause: Cause | None = None
    on_its_way: bool = False


@dataclass(slots=True)
class _Kept:
    since_ns: int  # the wait began
    from_ns: int  # the stall began: later where the wait was one by agreement at first
    looked_ns: int = 0
    checked_ns: int | None = None  # when the other end was looked at
    agreed_ns: int = 0  # when it was first found to wait for more
    past: Past = field(default_factory=Past)
    told: Told | None = None
    owner: int | None = None


class Replies:
    """All waits for replies of one source, by socket.

    `stall_ns` is the least length of a stall; `other_end` is None where nobody can look.
    """

    def __init__(
        self, stall_ns: int, patient: Patient | None = None, other_end: OtherEnd | None = None
    ) -> None:
        self._stall_ns = stall_ns
        self._patient = patient or Patient()
        self._other_end = other_end
        self._waits: OrderedDict[int, _Kept] = OrderedDict()
        self._stalled: dict[int, list[int]] = {}  # pid to when its stalled waits began
        self._new = 0

    def begin(self) -> None:
        """Start a look at all that waits."""
        self._new = 0
        self._stalled.clear()
        for kept in self._waits.values():
            if kept.told is not None and kept.owner is not None:
                self._stalled.setdefault(kept.owner, []).append(kept.since_ns)
        if self._other_end is not None:
            self._other_end.begin()

    def look(self, asked: Asked, now_ns: int) -> Told | None:
        """The stall that this wait is now, None while it is none."""
        if self._declared(asked):
            return None
        kept = self._keep(asked)
        kept.looked_ns = now_ns
        self._check(asked, kept, now_ns)
        kept.told = self._judged(asked, kept, now_ns)
        return kept.told

    def end(self, asked: Asked, end_ns: int) -> Told | None:
        """The stall that this wait was; None where it was none."""
        if self._declared(asked):
            return None
        kept = self._waits.get(asked.socket.inode)
        # News of its end may come late, when the next wait on this socket is known already.
        if (
            kept is not None
            and kept.since_ns <= end_ns - self._stall_ns // 2
            and not self._is_another(kept, asked)
        ):
            del self._waits[asked.socket.inode]
            agreed = kept.past.finding is Finding.AGREED
            return None if agreed and not self._has_just_agreed(kept, end_ns) else kept.told
        if asked.delivered is False:
            return Told(asked.since_ns)
        if asked.usual.is_usual(end_ns - asked.since_ns):
            return None
        # No look has seen it: where the peer keeps listening, it may have been by agreement.
        if asked.socket.protocol == "tcp" and self._may_listen(asked):
            return None
        return Told(asked.since_ns)

    def _may_listen(self, asked: Asked) -> bool:
        if self._other_end is None:
            return _from_this_end(asked) is Finding.HIDDEN
        return self._other_end.keeps_listening(asked.socket)

    def _declared(self, asked: Asked) -> bool:
        return self._patient.covers(asked.socket.remote_address, asked.socket.remote_port)

    def _keep(self, asked: Asked) -> _Kept:
        kept = self._waits.get(asked.socket.inode)
        if kept is None or self._is_another(kept, asked):
            kept = self._waits[asked.socket.inode] = _Kept(asked.since_ns, asked.since_ns)
            if len(self._waits) > _MOST_WAITS:
                self._waits.popitem(last=False)
        self._waits.move_to_end(asked.socket.inode)
        kept.owner = asked.owner.pid if asked.owner else None
        return kept

    def _is_another(self, kept: _Kept, asked: Asked) -> bool:
        # When it was looked at, a wait had lasted a stall's length: one that begins after that
        # is another.  A beginning is known to a scheduler tick.
        return asked.since_ns > kept.looked_ns - self._stall_ns // 2

    def _check(self, asked: Asked, kept: _Kept, now_ns: int) -> None:
        """Look at the other end, as often as is affordable."""
        if kept.checked_ns is None:
            self._new += 1
            if self._new > _AT_ONCE:
                return
        elif now_ns - kept.checked_ns < self._stall_ns * (1 + len(self._waits) // _AT_ONCE):
            return
        before, kept.checked_ns = kept.past.finding, now_ns
        if self._other_end is None or asked.socket.protocol != "tcp":
            kept.past.finding = _from_this_end(asked)
            return
        found = self._other_end.find(asked.socket, kept.past, delivered=asked.delivered)
        if found is Finding.AGREED and before is not Finding.AGREED:
            kept.agreed_ns = now_ns
        if before in _OWES_NOTHING and found not in _OWES_NOTHING and kept.told is None:
            kept.from_ns = now_ns  # until now all was as agreed, or may have been

    def _judged(self, asked: Asked, kept: _Kept, now_ns: int) -> Told | None:
        found = kept.past.finding
        if found is None or now_ns - kept.from_ns < self._stall_ns:
            return None
        if found is Finding.UNKNOWN and asked.usual.is_usual(now_ns - kept.from_ns):
            return None
        if found is Finding.UNDECIDED and kept.told is not None:
            return Told(kept.from_ns, kept.told.cause)  # nothing has ended it
        if self._has_just_agreed(kept, now_ns):
            return kept.told
        if found in _SILENT and not self._waits_itself(kept):
            return None
        cause = Cause.LOSS if found is Finding.ANSWER_LOST else None
        return Told(kept.from_ns, cause, found is Finding.ON_ITS_WAY)

    def _has_just_agreed(self, kept: _Kept, now_ns: int) -> bool:
        """Told as a stall, and now the peer waits for more: has it answered?

        Then it went back to its loop between the look at our end and the one at its own.  What
        waits at the next look, too, does so by agreement.
        """
        agreed = kept.past.finding is Finding.AGREED
        return agreed and kept.told is not None and now_ns - kept.agreed_ns < self._stall_ns

    def _waits_itself(self, kept: _Kept) -> bool:
        """Did the peer, as soon as it was asked, ask somebody else, and is it stalled there?

        So does a proxy: whose answer is outstanding is then not its own agreement with us.
        """
        peer = kept.past.peer
        if peer is None or peer.pid == kept.owner:
            return False
        asked = self._stalled.get(peer.pid, ())
        return any(0 <= since_ns - kept.since_ns < self._stall_ns for since_ns in asked)


def _from_this_end(asked: Asked) -> Finding:
    """What is known of a peer where no other end can be found."""
    if asked.delivered is False:
        return Finding.ON_ITS_WAY
    return seen_from_here(asked.socket)
