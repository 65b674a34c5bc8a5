"""Why a process waits: the table of causes, and the rule that all sources and `why` share.

A source passes what it has seen as `Evidence`.  Where the evidence does not decide, the cause is
None.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from xctl_probe.events import Cause, Direction

_SAME_BEGIN_NS = 50_000_000  # two stalls that are seen while they last begin further apart


class Meaning(NamedTuple):
    """What a cause stands on, and the words for it."""

    evidence: str
    text: str


# In the order in which `cause` decides; docs/records.md has the same texts.
TABLE = {
    Cause.CONNECTING: Meaning("a SYN without an answer", "the handshake has not finished"),
    Cause.KEEPALIVE: Meaning(
        "two or more keepalives without an answer", "the peer's host answers no keepalive"
    ),
    Cause.LOSS: Meaning(
        "a retransmit while the window is open, or out-of-order data",
        "segments are being retransmitted, or a hole waits to be filled",
    ),
    Cause.PEER_WINDOW: Meaning("a zero window", "the peer does not read"),
    Cause.PACING: Meaning(
        "a rate at its limit", "the sender asked to be held back (SO_MAX_PACING_RATE)"
    ),
    Cause.LOCAL_DROP: Meaning(
        "unsent data with an open window, and probes that do not leave",
        "this host drops what it sends",
    ),
    Cause.SEND_BUFFER: Meaning("a full send buffer", "the path is slower than the sender"),
    Cause.NO_REPLY: Meaning("an acknowledged request", "the peer has the request"),
}


class Evidence(NamedTuple):
    """What was seen during one wait.

    `host_silent`: the peer's host answers no keepalive, see `policy.is_silent`.
    `retransmitted`: a segment was sent again while the window was open.  `unsent`: data waits to
    be sent and none is in flight.  `undelivered`: data is in flight, not known to be lost.
    `unsendable`: what the kernel tries to send does not leave.
    """

    direction: Direction
    host_silent: bool = False
    retransmitted: bool = False
    hole: bool = False
    window_closed: bool = False
    paced: bool = False
    unsent: bool = False
    unsendable: bool = False
    undelivered: bool = False


def cause(seen: Evidence) -> Cause | None:
    """Return the most likely cause; None where nothing decides."""
    if seen.direction is Direction.CONNECT:
        return Cause.CONNECTING
    if seen.host_silent:
        return Cause.KEEPALIVE
    if seen.retransmitted or seen.hole:
        return Cause.LOSS  # before the window: a lossy path fills that, too
    if seen.direction is Direction.SEND:
        return _send_cause(seen)
    return _reply_cause(seen)


def _send_cause(seen: Evidence) -> Cause | None:
    if seen.window_closed:
        return Cause.PEER_WINDOW
    if seen.paced:
        return Cause.PACING
    if seen.unsent:
        return Cause.LOCAL_DROP if seen.unsendable else None
    return Cause.SEND_BUFFER


def _reply_cause(seen: Evidence) -> Cause | None:
    """Of a request: all of it has to leave this host, and to arrive, before a reply is due."""
    if seen.undelivered:
        return None
    if not seen.unsent:
        return Cause.NO_REPLY
    if seen.window_closed:
        return Cause.PEER_WINDOW
    if seen.paced:
        return Cause.PACING
    return Cause.LOCAL_DROP if seen.unsendable else None


class SeenWait(NamedTuple):
    """One wait at one sample: `key` names the socket and the direction.

    `since_ns` is when it began (monotonic).  `own` is the cause that this sample alone shows.
    """

    key: Hashable
    since_ns: int
    ongoing: bool
    own: Cause | None


class ZeroWindowMemory:
    """Remembers the waits whose window was seen closed, from one sample to the next.

    A peer that does not read may throw away what overran its buffer and open its window again
    (Linux 6.17 on).  What follows resembles loss, and is still the peer's doing until the
    process gets more into the buffer.
    """

    def __init__(self) -> None:
        self._begun_ns: dict[Hashable, int] = {}

    def note(self, waits: Iterable[SeenWait]) -> None:
        """Take in every wait of one sample; forget those that are not among them."""
        self._begun_ns = {
            wait.key: wait.since_ns
            for wait in waits
            if wait.ongoing and self.cause(wait) is Cause.PEER_WINDOW
        }

    def cause(self, wait: SeenWait) -> Cause | None:
        """Return the cause, with what was seen earlier in the same stall."""
        began_ns = self._begun_ns.get(wait.key)
        if began_ns is None:
            return wait.own
        # One that has ended was the last that was seen: its record comes before the next sample.
        if wait.ongoing and abs(wait.since_ns - began_ns) > _SAME_BEGIN_NS:
            return wait.own
        return Cause.PEER_WINDOW
