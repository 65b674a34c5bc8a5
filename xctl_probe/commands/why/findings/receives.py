"""Findings about connections on which data may be due."""

from __future__ import annotations

from xctl_probe.commands.why.findings.finding import Finding, idle, milliseconds
from xctl_probe.commands.why.findings.polls import busy_poll, poll_between_naps
from xctl_probe.commands.why.findings.replies import held, reply, unread_by_equal
from xctl_probe.commands.why.humanize import format_bytes, format_duration, pluralize
from xctl_probe.commands.why.sockets import Peer, Tcp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause
from xctl_probe.stalls.policy import REPLY_MS, is_silent

RECEIVES = ("ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2")


def receiving(tcp: Tcp, waiter: Waiter | None, *, first_waits: bool) -> Finding | None:
    """Return the finding about a connection that has nothing to send, None where it is idle."""
    reads = bool(waiter and waiter.reads)
    alone = reads and bool(waiter and waiter.exclusive)
    if tcp.hole_ms is not None and (tcp.opened or alone):
        text = (
            f"waits for a packet from {tcp.remote} that was lost: "
            f"what follows it arrived {format_duration(tcp.hole_ms)} ago"
        )
        return Finding(text, True, True, Cause.LOSS, tcp.inode, tcp.hole_ms)
    if waiter and waiter.spins and tcp.opened is not None:
        return busy_poll(tcp, waiter)
    if waiter and waiter.naps and tcp.opened and not tcp.receive_queue:
        return poll_between_naps(tcp)
    if waiter is None or not reads:
        return None
    if tcp.receive_queue:
        return _too_little(tcp, waiter)
    idle_ms = waiter.ms
    if tcp.opened is None:  # /proc/net shows neither the opener nor the last sender
        return _blocked(tcp, idle_ms) if alone else None
    if is_silent(tcp.unanswered_keepalives):
        return _silent(tcp, waiter, certain=alone)
    if not tcp.opened:
        return unread_by_equal(tcp) or _of_client(tcp, waiter)
    if tcp.reply_ms is not None:
        return reply(tcp, tcp.reply_ms, certain=alone or tcp.answered_before, alone=alone)
    if not alone:
        return _between(tcp, first_waits=first_waits)
    if tcp.last_receive_ms is None and tcp.last_send_ms is None and not waiter.first:
        return _unused(tcp)
    if tcp.last_receive_ms is None:
        return _quiet(tcp, idle_ms, f"waits for {tcp.remote} to send first")
    since = f"the last came {format_duration(tcp.last_receive_ms)} ago"
    return _quiet(
        tcp, float(tcp.last_receive_ms), f"waits for more data from {tcp.remote}: {since}"
    )


def _blocked(tcp: Tcp, idle_ms: float | None) -> Finding:
    since = f" for {format_duration(idle_ms)}" if idle_ms is not None else ""
    text = f"probably waits for data from {tcp.remote}{since}: a thread is blocked there"
    return Finding(text, True, False, None, tcp.inode, idle_ms)


def _too_little(tcp: Tcp, waiter: Waiter) -> Finding | None:
    """Return the finding about unread data that do not wake the thread up: it wants more."""
    if not waiter.still or tcp.moved or tcp.opened is False:
        return None
    waits = waiter.exclusive or waiter.only
    how = "probably waits" if waits else "waits for events, also"
    text = (
        f"{how} for more data from {tcp.remote}: {format_bytes(tcp.receive_queue)} have come, "
        "which do not wake it up, as with SO_RCVLOWAT"
    )
    ms = milliseconds(tcp.last_receive_ms)
    return Finding(text, waits, False, None, tcp.inode, ms, seen=waits)


def _unused(tcp: Tcp) -> Finding:
    """Return the finding about a connection that one of several threads keeps for later."""
    text = f"has a thread in a receive from {tcp.remote}, a connection that was never used"
    return Finding(text, False, False, None, tcp.inode, seen=False)


def _silent(tcp: Tcp, waiter: Waiter | None, *, certain: bool) -> Finding:
    """Return the finding about unanswered keepalives: also an expected wait is a stall then."""
    state = f"whose host does not answer: {_keepalives(tcp)}"
    if not tcp.opened:
        return idle(f"waits for its client {tcp.remote}, {state}", tcp, waiter)
    how = "waits" if certain else "probably waits"
    text = f"{how} for data from {tcp.remote}, {state}"
    return Finding(text, True, certain, Cause.KEEPALIVE, tcp.inode, milliseconds(tcp.heard_ms))


def _keepalives(tcp: Tcp) -> str:
    since = f", nothing came for {format_duration(tcp.heard_ms)}" if tcp.heard_ms else ""
    return f"{pluralize(tcp.unanswered_keepalives, 'keepalive')} unanswered{since}"


def _of_client(tcp: Tcp, waiter: Waiter | None) -> Finding:
    """Return the finding about an accepted connection without data."""
    peer = tcp.peer
    if not (peer and peer.stopped and waiter and waiter.exclusive):
        return idle(f"waits for its client {tcp.remote} to ask something", tcp, waiter)
    text = (
        f"waits for its client {peer.comm} (pid {peer.pid}) at {tcp.remote}, which is "
        f"{held(peer)}, maybe in the middle of a message"
    )
    return Finding(text, False, False, None, tcp.inode, waiter.ms, seen=False)


def _between(tcp: Tcp, *, first_waits: bool) -> Finding:
    """Return the finding about an event loop whose peer sent last, maybe part of a reply."""
    peer = tcp.peer
    if peer and peer.waits_for is not None and tcp.last_receive_ms is not None:
        return _passed_on(tcp, peer, tcp.last_receive_ms)
    if peer and peer.stopped:
        return _of_stopped(tcp, peer)
    if peer and peer.listens and first_waits:
        # What the thread waits for may be due from a worker that the peer has given the request.
        text = (
            f"waits for another thread, and that for events; {peer.comm} (pid {peer.pid}) at "
            f"{tcp.remote} does so as well, and whether it owes something only the two programs "
            "know"
        )
        return Finding(text, False, False, None, tcp.inode, seen=False)
    if peer and peer.listens and peer.computes:
        text = (
            f"waits for events; at {tcp.remote} {peer.comm} (pid {peer.pid}) awaits a request, and "
            "other threads of it compute, for whom only the two programs know"
        )
        return Finding(text, False, False, None, tcp.inode, seen=False)
    if peer and peer.listens:
        text = f"waits for events; at {tcp.remote} {peer.comm} (pid {peer.pid}) awaits a request"
        return Finding(text, False, True, None, tcp.inode)
    if peer and peer.is_elsewhere and (tcp.last_receive_ms or 0) >= REPLY_MS:
        return _in_the_middle(tcp, peer)
    text = (
        f"waits for events, also from {tcp.remote}: {_last(tcp)}, and whether more is due only the "
        "two programs know"
    )
    return Finding(text, False, False, None, tcp.inode, seen=False)


def _last(tcp: Tcp) -> str:
    if tcp.last_receive_ms is None:
        return "nothing came yet"
    return f"the last came {format_duration(tcp.last_receive_ms)} ago"


def _of_stopped(tcp: Tcp, peer: Peer) -> Finding:
    """Return the finding about a peer that sent last, maybe a part, and is stopped since."""
    who = f"{peer.comm} (pid {peer.pid})" if peer.pid is not None else "the peer"
    text = f"probably waits for data from {tcp.remote}: {_last(tcp)}, and {who} is {held(peer)}"
    return Finding(text, True, False, None, tcp.inode, milliseconds(tcp.last_receive_ms))


def _in_the_middle(tcp: Tcp, peer: Peer) -> Finding:
    """Return the finding about a server that does not wait for the next request.

    A server whose reply is complete does, on each connection that it keeps.
    """
    text = (
        f"probably waits for more data from {tcp.remote}: {_last(tcp)}, and no thread of "
        f"{peer.comm} (pid {peer.pid}) waits for a request there"
    )
    return Finding(text, True, False, None, tcp.inode, milliseconds(tcp.last_receive_ms))


def _passed_on(tcp: Tcp, peer: Peer, ms: int) -> Finding:
    """Return the finding about data of a proxy that waits for more of them itself."""
    text = (
        f"probably waits for more data from {tcp.remote}: the last came {format_duration(ms)} ago, "
        f"and {peer.comm} (pid {peer.pid}) waits for {peer.waits_for} itself since then"
    )
    return Finding(text, True, False, None, tcp.inode, float(ms))


def _quiet(tcp: Tcp, ms: float | None, text: str) -> Finding:
    # No request since then: it may be a subscriber, so the wait is a guess.
    return Finding(f"probably {text}", True, False, None, tcp.inode, ms)
