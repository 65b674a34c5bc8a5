"""Request/reply history: whether a process expects a reply.

A process that sent and has not received since may wait for a reply, or may be a log sender that
never gets one.  The kernel does not show which, so the history decides.  A *request* is a run of
sends without a receive in between.  It is answered when data follows; it is unanswered when a new
request begins at least a stall length later without data in between.  Where the history does not
decide, there is no stall: a false one costs more than a missed one.

The history also shows the usual latency: a peer that has often replied late, as a long poll does,
is not late yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

# One unanswered request per this many answered ones does not make a request/reply connection
# one-way.
ANSWERED_PER_SLIP = 8
# A reply after this many stall lengths is a long one; this many of them are usual.  Several within
# as long a time are one: a server that was stopped once was late for all its clients.
LONG_STALLS = 10
LONG_WAITS = 3
# So many times the longest of the last replies, which were all late.
MUCH_LONGER = 5
# With this many replies, and few long ones among them, a connection is prompt.
PROMPT_ANSWERS = 8


@dataclass(slots=True)
class RequestHistory:
    """Number of requests with and without a reply, of one connection or one peer."""

    answered: int = 0
    unanswered: int = 0
    long_waits: int = 0  # late replies
    longest_ns: int = 0  # longest of these waits
    late_reply: int = 0  # number of the latest late reply
    late_ns: int = 0  # longest wait of the late replies in a row up to this one
    late_end_ns: int = 0  # when the last one counted in `long_waits` was over (monotonic)

    def expects_reply(self) -> bool:
        """True when requests mostly got a reply so far, at least once."""
        return self.answered >= 1 and not self.one_way()

    def one_way(self) -> bool:
        """True when requests mostly get no reply, as those of a log sender."""
        return self.unanswered * ANSWERED_PER_SLIP > self.answered

    def record_latency(self, wait_ns: int, stall_ns: int, end_ns: int) -> None:
        """Note a reply at `end_ns` to a request `wait_ns` before, until it counts in `answered`."""
        long_ns = LONG_STALLS * stall_ns
        if wait_ns >= long_ns:
            if not self.long_waits or end_ns - self.late_end_ns >= long_ns:
                self.long_waits += 1
                self.late_end_ns = end_ns
            self.longest_ns = max(self.longest_ns, wait_ns)
            in_a_row = self.late_reply == self.answered
            self.late_ns = max(self.late_ns, wait_ns) if in_a_row else wait_ns
            self.late_reply = self.answered + 1

    def is_within_usual_latency(self, wait_ns: int) -> bool:
        """True when `wait_ns` is usual for this peer: at most twice the longest wait so far."""
        return self.long_waits >= LONG_WAITS and wait_ns <= 2 * self.longest_ns

    def is_as_late_as_before(self, wait_ns: int) -> bool:
        """True when the last replies were late, and this wait is not much longer than they were.

        A worker that waits for jobs waits as long as it takes.
        """
        return self.answered == self.late_reply and wait_ns <= MUCH_LONGER * self.late_ns

    def is_known(self) -> bool:
        """True when the peer has replied often enough to show how it does."""
        return self.answered >= PROMPT_ANSWERS

    def is_prompt(self) -> bool:
        """True when long waits were rare among many replies."""
        return self.is_known() and self.long_waits * PROMPT_ANSWERS <= self.answered


class Usual(NamedTuple):
    """Usual latency of one connection (`here`), and of its `peer` for the same owner."""

    here: RequestHistory
    peer: RequestHistory

    def record_latency(self, wait_ns: int, stall_ns: int, end_ns: int) -> None:
        """Note a reply at `end_ns` to a request `wait_ns` before."""
        self.here.record_latency(wait_ns, stall_ns, end_ns)
        self.peer.record_latency(wait_ns, stall_ns, end_ns)

    def is_within_usual_latency(self, wait_ns: int) -> bool:
        """True when `wait_ns` is usual for this connection, or for a peer that is not prompt here.

        The long poll of a worker does not hide a stalled request to the same server.
        """
        if self.here.is_as_late_as_before(wait_ns):
            return True
        return self.peer.is_within_usual_latency(wait_ns) and not self.here.is_prompt()

    def is_known(self) -> bool:
        """True when the peer has replied often: here, or elsewhere where this one is new."""
        return self.here.is_known() or (not self.here.answered and self.peer.is_known())

    def is_prompt(self) -> bool:
        """True when replies came soon: on this connection, or from this peer where it has few."""
        if self.here.is_known() or self.here.long_waits:
            return self.here.is_prompt()
        return self.peer.is_prompt()


class Histories:
    """Request/reply histories by user and key.

    Bounded: beyond the capacity, the user with the most histories loses the least recently used
    one, so that a user cannot evict the histories of a user with fewer.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._count = 0
        self._by_user: dict[int, OrderedDict[Hashable, RequestHistory]] = {}

    def of(self, uid: int, key: Hashable) -> RequestHistory:
        """Return the history of this user and key, which is created if needed."""
        mine = self._by_user.setdefault(uid, OrderedDict())
        history = mine.get(key)
        if history is not None:
            mine.move_to_end(key)
            return history
        history = mine[key] = RequestHistory()
        self._count += 1
        if self._count > self._capacity:
            self._forget_one()
        return history

    def _forget_one(self) -> None:
        uid, most = max(self._by_user.items(), key=lambda item: len(item[1]))
        most.popitem(last=False)
        if not most:
            del self._by_user[uid]
        self._count -= 1


class PeerHistory:
    """Histories of all connections so far, by owner and peer: see `Histories`.

    An owner is a user and, where the source knows it, the name of the program; a peer is an
    address, a port and a network namespace.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._histories = Histories(capacity)

    def of(
        self, address: str, port: int, netns: int = 0, *, uid: int = 0, comm: bytes = b""
    ) -> RequestHistory:
        """Return the history of this owner and peer, which is created if needed."""
        return self._histories.of(uid, (address, port, netns, comm))
