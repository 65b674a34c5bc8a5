"""Does this side of a connection expect an answer?  The evidence behind receive stalls.

A process that sent and has not received since may be waiting for a reply, or may be a log
sender that never gets one.  Nothing in the kernel says which, so the past decides: a *send
phase* is a run of sends without a receive between.  It is answered when data arrives after
it, unanswered when a new phase begins at least a stall's length later and nothing came.
Where the past does not decide, there is no stall: a false one costs more than a missed one.

The past also tells how long a peer takes to answer: one that has often answered late, as a long
poll does, is not late yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

# One unanswered phase in this many answered ones is a slip of an otherwise steady
# request-response connection, and does not make it a one-way stream.
ANSWERED_PER_SLIP = 8
# A wait of as many stalls' length is a long one; after as many of them they are usual.
LONG_STALLS = 10
LONG_WAITS = 3
# A connection with so many answers, and hardly a long wait among them, is none of those.
PROMPT_ANSWERS = 8


@dataclass(slots=True)
class RequestHistory:
    """How often sends were answered: on one connection, or with one endpoint."""

    answered: int = 0
    unanswered: int = 0
    long_waits: int = 0  # answers that came late
    longest_ns: int = 0  # the longest of those waits

    def expects_reply(self) -> bool:
        """True when a send here has been answered before, and hardly ever was not."""
        return self.answered >= 1 and not self.one_way()

    def one_way(self) -> bool:
        """True when sends here go on without answers, as those of a log sender do."""
        return self.unanswered * ANSWERED_PER_SLIP > self.answered

    def record_latency(self, wait_ns: int, stall_ns: int) -> None:
        """Note an answer that came so long after its request."""
        if wait_ns >= LONG_STALLS * stall_ns:
            self.long_waits += 1
            self.longest_ns = max(self.longest_ns, wait_ns)

    def is_within_usual_latency(self, wait_ns: int) -> bool:
        """True when such waits are how this peer answers: up to twice the longest so far."""
        return self.long_waits >= LONG_WAITS and wait_ns <= 2 * self.longest_ns

    def is_prompt(self) -> bool:
        """True when answers here were hardly ever long in coming."""
        return self.answered >= PROMPT_ANSWERS and self.long_waits * PROMPT_ANSWERS <= self.answered


class Usual(NamedTuple):
    """What answers usually take: `here`, on one connection, and of the `peer` to its owner."""

    here: RequestHistory
    peer: RequestHistory

    def record_latency(self, wait_ns: int, stall_ns: int) -> None:
        """Note an answer that came so long after its request."""
        self.here.record_latency(wait_ns, stall_ns)
        self.peer.record_latency(wait_ns, stall_ns)

    def is_within_usual_latency(self, wait_ns: int) -> bool:
        """True when the peer answers this owner so late, and answers here no sooner.

        A worker that waits for its next job does not hide a lookup at the same server.
        """
        return self.peer.is_within_usual_latency(wait_ns) and not self.here.is_prompt()


class Dialogues:
    """Dialogues by user and key.

    Bounded: where there are too many, the user with the most forgets the one not asked for
    longest.  So nobody makes another user's be forgotten while having more.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._count = 0
        self._by_user: dict[int, OrderedDict[Hashable, RequestHistory]] = {}

    def of(self, uid: int, key: Hashable) -> RequestHistory:
        """The dialogue of this user under this key, a new one where there was none."""
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
    """The dialogues of all connections so far, by owner and peer: see `Dialogues`.

    An owner is a user and, where the source knows it, the name of the program; a peer is an
    address, a port and a network namespace.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._dialogues = Dialogues(capacity)

    def of(
        self, address: str, port: int, netns: int = 0, *, uid: int = 0, comm: bytes = b""
    ) -> RequestHistory:
        """The owner's dialogue with this peer, a new one where there was none."""
        return self._dialogues.of(uid, (address, port, netns, comm))
