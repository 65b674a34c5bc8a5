"""Which candidate is a stall, and why: the one place where that is decided for the kernel."""

from __future__ import annotations

from xctl_probe.ebpf.abi import PROTOCOLS_UDP, Evidence, Record, StallDirection
from xctl_probe.events import Cause
from xctl_probe.stalls.request_history import Dialogue

_SOMEBODY_LISTENS = Evidence.BLOCKED | Evidence.POLLING
_DNS_PORT = 53
# Where no datagram was ever answered, only its sender's patience tells that it waits for an answer.
_GUESS_NS = 1_000_000_000
# Resolvers give up sooner (resolv.conf(5): timeout).  Who still polls then is an idle event loop.
_LONGEST_POLL_NS = 30_000_000_000


def is_stall(record: Record, endpoint: Dialogue) -> bool:
    """Did the process wait for the network, on evidence?

    Sends and connects are the kernel's own finding.  A quiet receiver waits for an answer when
    it opened the connection and a thread sits in the receive, or when sends were answered
    before: on this connection, or, where it has no past, on those to the same `endpoint`.  In
    mid-stream a gap in the sequence tells that more was coming, or a flow that broke off while
    a thread sits in the receive.
    """
    if record.direction != StallDirection.RECEIVE:
        return True
    if not record.evidence & Evidence.OPENED:
        return False  # a server waits for work, not for the network
    if record.evidence & Evidence.HOLE:
        return True
    if record.evidence & Evidence.FLOW:
        return bool(record.evidence & Evidence.BLOCKED)  # else it may have all it wanted
    past = Dialogue(record.answered, record.unanswered)
    if record.protocol in PROTOCOLS_UDP:
        return _awaits_datagram(record, past, endpoint)
    if past.one_way():
        return False
    if record.evidence & Evidence.BLOCKED or past.expects_reply():
        return True
    return endpoint.expects_reply()


def _awaits_datagram(record: Record, past: Dialogue, endpoint: Dialogue) -> bool:
    """A datagram has no handshake: its sender may be a client, or may expect nothing."""
    seen = Evidence(record.evidence)
    if not seen & _SOMEBODY_LISTENS:
        return False  # its queue may be full of answers
    if not seen & Evidence.BLOCKED and record.span_ns > _LONGEST_POLL_NS:
        return False
    if record.remote_port == _DNS_PORT:
        return True  # only queries go there
    if past.one_way():
        return False
    connected = record.remote_port != 0
    if past.expects_reply() or (connected and endpoint.expects_reply()):
        return True
    if seen & Evidence.BLOCKED and connected:
        return True
    return bool(seen & (Evidence.BLOCKED | Evidence.ALONE)) and record.span_ns >= _GUESS_NS


def cause(record: Record) -> Cause | None:
    """The most likely reason, by what was seen during the stall; None where nothing decides."""
    seen = Evidence(record.evidence)
    if record.direction == StallDirection.CONNECT:
        return Cause.CONNECTING
    if seen & (Evidence.RETRANSMIT | Evidence.HOLE):
        return Cause.LOSS  # before the window: a lossy path fills that, too
    if record.direction == StallDirection.SEND and seen & Evidence.PEER_WINDOW:
        return Cause.PEER_WINDOW
    if seen & (Evidence.PACED | Evidence.UNSENT):
        return _held_back(record.direction, seen)
    return Cause.SEND_BUFFER if record.direction == StallDirection.SEND else Cause.NO_REPLY


def _held_back(direction: int, seen: Evidence) -> Cause | None:
    """What keeps data from leaving this host: neither the path nor the peer."""
    if seen & Evidence.PACED and (direction == StallDirection.SEND or seen & Evidence.UNSENT):
        return Cause.PACING
    if seen & Evidence.UNSENDABLE:
        return Cause.LOCAL_DROP
    return None if seen & Evidence.UNSENT else Cause.NO_REPLY  # all of a paced request has left
