"""Findings about threads that poll without a receive that blocks: MPI, UCX, NCCL."""

from __future__ import annotations

from dataclasses import replace

from xctl_probe.commands.why.findings.finding import Finding
from xctl_probe.commands.why.findings.replies import held, reply, unread_by_equal
from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.commands.why.sockets import Tcp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.stalls.policy import REPLY_MS


def busy_poll(tcp: Tcp, waiter: Waiter) -> Finding | None:
    """Return the finding about a connection of a process that runs all the while.

    What it polls without sleeping is not visible here: MPI, UCX, NCCL.
    """
    if tcp.opened and tcp.reply_ms is not None:
        return _spinning(tcp, tcp.reply_ms, calls=waiter.calls)
    if not waiter.calls:
        return None
    return (None if tcp.opened else unread_by_equal(tcp)) or _spinning_unasked(tcp)


def _spinning(tcp: Tcp, ms: float, *, calls: bool) -> Finding | None:
    """Return the finding about a busy poll for a reply, which a stopped peer proves."""
    stuck = tcp.peer is not None and (tcp.peer.stopped or tcp.peer.unread_bytes)
    if tcp.last_receive_ms is None and not calls:
        return None
    if stuck:
        found = reply(tcp, ms, certain=False)
        return replace(found, text=f"{found.text}; a thread runs all the while, as if it polled")
    if not calls or ms < REPLY_MS:
        return None
    text = (
        f"runs in system calls, and may poll without sleeping for the reply of {tcp.remote}, which "
        f"it asked {format_duration(ms)} ago"
    )
    return Finding(text, False, False, None, tcp.inode, ms, seen=False)


def _spinning_unasked(tcp: Tcp) -> Finding | None:
    """Return the finding about a connection on which no reply is due, as with NCCL and MPI."""
    ms, peer = tcp.last_receive_ms, tcp.peer
    if ms is None or ms < REPLY_MS or tcp.receive_queue or (peer and peer.listens):
        return None
    if peer is None or not peer.stopped:
        text = (
            f"runs in system calls, and may poll {tcp.remote} without sleeping there: the last "
            f"data came {format_duration(ms)} ago"
        )
        return Finding(text, False, False, None, tcp.inode, float(ms), seen=False)
    text = (
        f"probably waits for data from {tcp.remote} for {format_duration(ms)}; {peer.comm} (pid "
        f"{peer.pid}) is {held(peer)}; a thread runs in system calls, as if it polled"
    )
    return Finding(text, True, False, None, tcp.inode, float(ms))


def poll_between_naps(tcp: Tcp) -> Finding | None:
    """Return the finding about a reply that a thread may poll for between two short sleeps."""
    ms = tcp.reply_ms
    if ms is None or ms < REPLY_MS:
        return None
    if tcp.peer is not None and (tcp.peer.stopped or tcp.peer.unread_bytes):
        found = reply(tcp, ms, certain=False)
        return replace(found, text=f"{found.text}; a thread wakes up often, as if it polled for it")
    text = (
        f"asked {tcp.remote} {format_duration(ms)} ago and got no reply, and a thread wakes up "
        "often, as if it polled for it"
    )
    return Finding(text, False, False, None, tcp.inode, ms, seen=False)
