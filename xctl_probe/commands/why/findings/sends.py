"""Findings about connections that connect or have data to send."""

from __future__ import annotations

from xctl_probe.commands.why.findings.finding import Finding, milliseconds
from xctl_probe.commands.why.humanize import format_bytes, format_duration, pluralize
from xctl_probe.commands.why.sockets import Tcp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause

_MOSTLY = 0.5  # of the time between the samples
_HELD_BACK = (Cause.PACING, Cause.LOCAL_DROP)  # by this host
# Why the send buffer stays full; None: data waits, none is in flight, and nothing shows why.
_FULL_BUFFER = {
    Cause.SEND_BUFFER: "the path to {} is slower than the sender",
    Cause.PACING: "the sender itself limits its rate to {} (SO_MAX_PACING_RATE)",
    Cause.LOCAL_DROP: "this host drops what it sends to {}",
    Cause.LOSS: "packets to {} are lost",
    None: "what is to be sent to {} does not leave this host",
}


def connects(tcp: Tcp) -> bool:
    """Return whether a SYN has left: with TCP_FASTOPEN_CONNECT the first send has one."""
    return tcp.state == "SYN_SENT" and tcp.unacked_segments != 0


def connecting(tcp: Tcp) -> Finding:
    """Return the finding about a connect that goes on."""
    since = f" for {format_duration(tcp.unanswered_ms)}" if tcp.unanswered_ms is not None else ""
    tries = ""
    if tcp.retransmits:
        tries = f": {pluralize(tcp.retransmits + 1, 'SYN')} unanswered{_next_try(tcp)}"
    text = f"still connecting to {tcp.remote}{since}{tries}"
    return Finding(text, True, True, Cause.CONNECTING, tcp.inode, tcp.unanswered_ms)


def sending(tcp: Tcp, waiter: Waiter | None) -> Finding | None:
    """Return the finding about unsent or unacknowledged data."""
    blocked = bool(waiter and (waiter.exclusive or waiter.writes)) or tcp.full_ms is not None
    # No thread visibly waits for it; it is still a problem of this connection.
    aside = "" if blocked else ", though this process may not be waiting for that"
    unsent = tcp.not_sent_bytes or tcp.send_queue
    if tcp.retransmits and not tcp.window_closed:
        since = f" for {format_duration(tcp.unanswered_ms)}" if tcp.unanswered_ms else ""
        text = (
            f"no packet gets through to {tcp.remote}{since}: "
            f"{pluralize(tcp.retransmits, 'retransmit')}{_next_try(tcp)}{aside}"
        )
        return Finding(text, True, blocked, Cause.LOSS, tcp.inode, tcp.unanswered_ms)
    if tcp.window_closed:
        ms = tcp.full_ms if tcp.full_ms is not None else milliseconds(tcp.last_send_ms)
        since = f" for {format_duration(ms)}" if ms is not None else ""
        text = f"{_closed_window(tcp, since)}; {format_bytes(unsent)} wait to be sent{aside}"
        return Finding(text, True, blocked, Cause.PEER_WINDOW, tcp.inode, ms)
    if (tcp.window_share or 0.0) >= _MOSTLY and tcp.send_cause is not Cause.PACING:
        text = (
            f"the window of the peer {tcp.remote} held this side up {tcp.window_share:.0%} of the "
            f"sampled time: the peer reads too slowly, or its receive buffer is small{aside}"
        )
        return Finding(text, True, blocked, Cause.PEER_WINDOW, tcp.inode, tcp.full_ms)
    if tcp.full_ms is not None:
        text = f"{_FULL_BUFFER[tcp.send_cause].format(tcp.remote)}: the send buffer is full"
        return Finding(text, True, True, tcp.send_cause, tcp.inode, tcp.full_ms)
    if waiter and waiter.exclusive and waiter.writes and tcp.send_cause in _HELD_BACK:
        text = f"{_FULL_BUFFER[tcp.send_cause].format(tcp.remote)}, and a thread waits to send"
        return Finding(text, True, True, tcp.send_cause, tcp.inode, waiter.ms)
    return None


def _closed_window(tcp: Tcp, since: str) -> str:
    """Return the text of a closed window: by unread data of the peer, where that is known."""
    if tcp.peer_window_bytes:
        window = format_bytes(tcp.peer_window_bytes)
        return f"the window of the peer {tcp.remote}, {window}, is too small for more{since}"
    if tcp.peer and not tcp.peer.unread_bytes and not tcp.peer.stopped:
        return (
            f"the window of the peer {tcp.remote} is closed{since}, although it has read all: its "
            "receive buffer is small"
        )
    return f"the peer {tcp.remote} does not read: its window is closed{since}"


def _next_try(tcp: Tcp) -> str:
    return f", next in {format_duration(tcp.next_try_ms)}" if tcp.next_try_ms is not None else ""
