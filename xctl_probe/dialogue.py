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
from dataclasses import dataclass

# One unanswered phase in this many answered ones is a slip of an otherwise steady
# request-response connection, and does not make it a one-way stream.
ANSWERED_PER_SLIP = 8
# A wait of as many stalls' length is a long one; after as many of them they are usual.
LONG_STALLS = 10
LONG_WAITS = 3


@dataclass(slots=True)
class Dialogue:
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

    def came_after(self, wait_ns: int, stall_ns: int) -> None:
        """Note an answer that came so long after its request."""
        if wait_ns >= LONG_STALLS * stall_ns:
            self.long_waits += 1
            self.longest_ns = max(self.longest_ns, wait_ns)

    def is_usual(self, wait_ns: int) -> bool:
        """True when such waits are how this peer answers: up to twice the longest so far."""
        return self.long_waits >= LONG_WAITS and wait_ns <= 2 * self.longest_ns


class Endpoints:
    """The dialogues of all connections so far, by peer: address, port and network namespace.

    Bounded: the peer not heard of for longest is forgotten first.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._by_peer: OrderedDict[tuple[str, int, int], Dialogue] = OrderedDict()

    def of(self, address: str, port: int, netns: int = 0) -> Dialogue:
        """The dialogue with this peer, a new one where there was none."""
        key = (address, port, netns)
        dialogue = self._by_peer.get(key)
        if dialogue is None:
            dialogue = self._by_peer[key] = Dialogue()
            if len(self._by_peer) > self._capacity:
                self._by_peer.popitem(last=False)
        else:
            self._by_peer.move_to_end(key)
        return dialogue
