"""Raw events of waits, as the evidence that `stalls` decides on."""

from __future__ import annotations

from xctl_probe.ebpf.abi import PROTOCOLS_UDP, Evidence, Kind, RawEvent, StallDirection
from xctl_probe.events import Cause, Direction
from xctl_probe.stalls import causes
from xctl_probe.stalls.causes import SeenWait
from xctl_probe.stalls.policy import DatagramWait, expects_datagram, expects_reply, is_silent
from xctl_probe.stalls.request_history import RequestHistory

DIRECTIONS = {
    StallDirection.SEND: Direction.SEND,
    StallDirection.RECEIVE: Direction.RECEIVE,
    StallDirection.CONNECT: Direction.CONNECT,
}

# No request is outstanding: what is awaited comes unasked.
UNASKED = Evidence.FLOW | Evidence.SPINNING


def is_stall(record: RawEvent, endpoint: RequestHistory) -> bool:
    """Return whether the process waits for the network.

    Sends and connects are the kernel's own finding.  A receive is a stall on the side that opened
    the connection: after a hole in the sequence; where a transfer may have broken off; where a
    thread is blocked and the peer's host answers no keepalive; or where a reply is
    due.  Either side waits where its receives spin, and may where its peer is an equal.  `endpoint`
    counts the replies of the same peer.
    """
    if record.direction != StallDirection.RECEIVE:
        return True
    seen = Evidence(record.evidence)
    if seen & (Evidence.SPINNING | Evidence.SYMMETRIC):
        return True  # of an equal, where it has not read what was sent: see reply_waits
    if not seen & Evidence.OPENED:
        return False  # a server waits for work, not for the network
    if seen & Evidence.HOLE:
        return True
    blocked = bool(seen & Evidence.BLOCKED)
    if seen & Evidence.FLOW:
        return True  # or it has all it wanted: see reply_waits
    if seen & Evidence.KEEPALIVE:
        return blocked
    if record.protocol not in PROTOCOLS_UDP:
        return expects_reply_as_client(record, endpoint)
    history = RequestHistory(record.answered, record.unanswered)
    polling, alone = bool(seen & Evidence.POLLING), bool(seen & Evidence.ALONE)
    wait = DatagramWait(blocked, polling, alone, record.remote_port, record.span_ns)
    return expects_datagram(wait, history, endpoint)


def expects_reply_as_client(record: RawEvent, endpoint: RequestHistory) -> bool:
    """Return whether the rules for a client make this wait on a connection one for a reply."""
    history = RequestHistory(record.answered, record.unanswered)
    blocked = bool(record.evidence & Evidence.BLOCKED)
    opened = bool(record.evidence & Evidence.OPENED)
    if blocked and record.evidence & Evidence.UPLOAD:
        history = RequestHistory()  # only a thread in a receive shows a wait now
    return opened and expects_reply(history, endpoint, blocked=blocked)


def cause(record: RawEvent) -> Cause | None:
    """Return the cause that this record alone shows; None where nothing decides."""
    seen = Evidence(record.evidence)
    direction = DIRECTIONS[StallDirection(record.direction)]
    return causes.cause(
        causes.Evidence(
            direction,
            host_silent=record.kind == Kind.ONGOING and is_silent(record.occurrences),
            retransmitted=bool(seen & Evidence.RETRANSMIT),
            hole=bool(seen & Evidence.HOLE),
            unasked=bool(seen & UNASKED),
            window_closed=bool(seen & Evidence.PEER_WINDOW),
            paced=bool(seen & Evidence.PACED),
            unsent=bool(seen & Evidence.UNSENT),
            unsendable=bool(seen & Evidence.UNSENDABLE),
        )
    )


def seen_wait(record: RawEvent) -> SeenWait:
    """Return the values of a raw event that `ZeroWindowMemory` needs."""
    since_ns, ongoing = record.time_ns - record.span_ns, record.kind == Kind.ONGOING
    return SeenWait((record.inode, record.direction), since_ns, ongoing, cause(record))
