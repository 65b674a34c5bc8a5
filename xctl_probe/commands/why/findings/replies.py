"""Findings about what a peer owes, and what it does instead."""

from __future__ import annotations

from xctl_probe.commands.why.findings.finding import Finding
from xctl_probe.commands.why.humanize import format_bytes, format_duration
from xctl_probe.commands.why.sockets import Peer, Tcp
from xctl_probe.events import Cause
from xctl_probe.stalls.policy import REPLY_MS


def reply(tcp: Tcp, ms: float, *, certain: bool, alone: bool = False) -> Finding:
    """Return the finding about a request without a reply for `ms`; `alone` as of a waiter."""
    peer = tcp.peer
    who = f"{peer.comm} (pid {peer.pid})" if peer and peer.pid is not None else "the peer"
    at_work = peer is not None and (peer.waits_for is not None or peer.computes)
    if peer and peer.listens and not at_work and not tcp.send_queue:
        # A queue or a long poll; or the peer has lost the request, or handed it to a thread.
        text = (
            f"waits for the answer of {who} at {tcp.remote} for {format_duration(ms)}, "
            "which has read the request and waits for other events, probably because it has no "
            "answer yet"
        )
        return Finding(text, alone, False, None, tcp.inode, ms, seen=alone, expects=False)
    certain = certain and not (peer and peer.computes)
    how = "waits" if certain else "probably waits"
    state = "its request was acknowledged, so the peer has it"
    cause: Cause | None = Cause.NO_REPLY
    if tcp.send_queue:
        state, cause = "its request is on its way, not acknowledged yet", None
    elif peer and peer.unread_bytes:
        unread = format_bytes(peer.unread_bytes)
        state = f"{who} has not read its request: {unread} lie in the queue there"
        state += f", and it is {held(peer)}" if peer.stopped else ""
    elif peer and peer.stopped:
        state = f"{who} is {held(peer)}"
    elif peer and peer.waits_for is not None:
        state = f"{who} has read the request, and waits for a reply from {peer.waits_for} itself"
    elif peer and peer.computes:
        state = f"the event loop of {who} has read the request, and other threads of it compute"
    if not certain and tcp.last_receive_ms is None:
        state += "; none ever came on this connection, so it may expect none"
    text = f"{how} for a reply from {tcp.remote} for {format_duration(ms)}; {state}"
    expects = tcp.last_receive_ms is not None
    return Finding(text, True, certain, cause, tcp.inode, ms, expects=expects)


def unread_by_equal(tcp: Tcp) -> Finding | None:
    """Return the finding about an accepted connection whose peer does not read what was sent.

    A rank of a job waits then; a server that has replied does not.
    """
    peer, ms = tcp.peer, tcp.last_send_ms
    if peer is None or not peer.unread_bytes or ms is None or ms < REPLY_MS:
        return None
    if tcp.last_receive_ms is not None and tcp.last_receive_ms < ms:
        return None  # the peer sent last
    who = f"{peer.comm} (pid {peer.pid})" if peer.pid is not None else "the peer"
    stopped = f", and it is {held(peer)}" if peer.stopped else ""
    text = (
        f"probably waits for {who} at {tcp.remote} for {format_duration(ms)}, which has not read "
        f"what was sent to it: {format_bytes(peer.unread_bytes)} lie in the queue there{stopped}; "
        "no wait if this was the reply of a server"
    )
    return Finding(text, True, False, Cause.NO_REPLY, tcp.inode, float(ms))


def held(peer: Peer) -> str:
    """Return in which way a peer does not run."""
    return "frozen" if peer.frozen else "stopped"
