"""Causes of stalls: their table, and the rule that all sources and `why` share.

A source passes its observations as `Evidence`.  Where the evidence does not decide, the cause is
None.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from xctl_probe.events import Cause, Direction

_SAME_BEGIN_NS = 50_000_000  # two successive stalls begin further apart


class Meaning(NamedTuple):
    """Evidence of a cause, and its description."""

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
    """Observations of one wait.

    `host_silent`: the peer's host answers no keepalive, see `policy.is_silent`.
    `retransmitted`: a segment was retransmitted while the window was open.  `unsent`: data waits to
    be sent and none is in flight.  `undelivered`: data is in flight, not known to be lost.
    `unsendable`: segments that the kernel tries to send do not leave this host.  `unasked`: data
    is awaited without a request.
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
    unasked: bool = False


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
    """Return the cause of a reply wait: a reply is due once all of the request has arrived."""
    if seen.undelivered or seen.unasked:
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
    """Send stalls that began with a zero window, so that a later retransmit keeps `peer_window`.

    A peer that does not read may drop data beyond its buffer and open its window again (since Linux
    6.17).  The retransmits resemble loss; the peer is still the cause until the process writes more
    into the buffer.
    """

    def __init__(self) -> None:
        self._begun_ns: dict[Hashable, int] = {}

    def note(self, waits: Iterable[SeenWait]) -> None:
        """Update from all waits of one sample; waits that are not among them are forgotten."""
        self._begun_ns = {
            wait.key: wait.since_ns
            for wait in waits
            if wait.ongoing and self.cause(wait) is Cause.PEER_WINDOW
        }

    def cause(self, wait: SeenWait) -> Cause | None:
        """Return the cause, with regard to earlier samples of the same stall."""
        began_ns = self._begun_ns.get(wait.key)
        if began_ns is None:
            return wait.own
        # The end event of a wait comes before the next sample.
        if wait.ongoing and abs(wait.since_ns - began_ns) > _SAME_BEGIN_NS:
            return wait.own
        return Cause.PEER_WINDOW
