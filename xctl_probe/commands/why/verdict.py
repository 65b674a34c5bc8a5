"""Verdict about a process, from the evidence of its threads and sockets.

Where the evidence does not decide, the stream reports nothing, and the verdict contains "probably".
"""

from __future__ import annotations

from dataclasses import replace

from xctl_probe.commands.why.findings.datagrams import of_udp
from xctl_probe.commands.why.findings.finding import Finding, idle, ranked
from xctl_probe.commands.why.findings.receives import RECEIVES, receiving
from xctl_probe.commands.why.findings.sends import connecting, connects, sending
from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.commands.why.sockets import Tcp, Udp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.stalls.policy import REPLY_MS, STALL_MS

_DELIVERS = ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "CLOSING", "LAST_ACK")


def findings(
    tcp: list[Tcp],
    udp: list[Udp],
    waiting: dict[int, Waiter],
    ephemeral: range = range(32_768, 61_000),
    stall_ms: int = STALL_MS,
    *,
    first_waits: bool = False,
    computes: bool = False,
) -> list[Finding]:
    """Return the findings about the sockets, most relevant first.

    `ephemeral` are the ports that the kernel chooses for clients.  Waits below `stall_ms` are left
    out.  `first_waits`: the first thread waits for another one.  `computes`: a thread runs all the
    while, in its own code.
    """
    quiet_ms = _quiet_ms(tcp)
    found = [
        _unless_it_went_on(
            _of_tcp(socket, waiting.get(socket.inode), first_waits=first_waits),
            socket,
            waiting.get(socket.inode),
            quiet_ms,
            computes=computes,
        )
        for socket in tcp
    ]
    used = [socket for socket in udp if socket.inode in waiting]
    found += [of_udp(socket, waiting[socket.inode], ephemeral) for socket in used]
    return ranked(f for f in found if f is not None and (f.ms is None or f.ms >= stall_ms))


def _of_tcp(tcp: Tcp, waiter: Waiter | None, *, first_waits: bool) -> Finding | None:
    if tcp.listening:
        if waiter and waiter.reads:
            return idle(f"waits for connections on {tcp.local}", tcp, None)
        return None
    if tcp.state == "SYN_SENT":
        return connecting(tcp) if connects(tcp) else None
    found = sending(tcp, waiter) if tcp.state in _DELIVERS and tcp.send_queue else None
    if found is None and tcp.state in RECEIVES:
        found = receiving(tcp, waiter, first_waits=first_waits)
    return found


def _quiet_ms(tcp: list[Tcp]) -> float:
    """Return for how long no connection has moved data."""
    ages = (age for one in tcp for age in (one.last_send_ms, one.last_receive_ms))
    return min((age for age in ages if age is not None), default=0)


def _unless_it_went_on(
    found: Finding | None, tcp: Tcp, waiter: Waiter | None, quiet_ms: float, *, computes: bool
) -> Finding | None:
    """Return a guess about an event loop as unknown where another thread of the process computes.

    Or where it exchanged data elsewhere long after the wait began: what holds it up now began with
    the silence on all its connections.  Heartbeats end that.
    """
    if found is None or not found.waits or found.certain or found.ms is None:
        return found
    exclusive = waiter is not None and waiter.exclusive
    # Who is stopped owes nothing where it sent last, but for who polls it all the while.
    owes = tcp.reply_ms is not None or (waiter is not None and waiter.spins)
    proven = tcp.peer is not None and (tcp.peer.unread_bytes > 0 or (tcp.peer.stopped and owes))
    if exclusive or proven or tcp.send_queue:
        return found
    if computes:
        but = "a thread of it runs all the while"
    elif REPLY_MS <= quiet_ms < found.ms - REPLY_MS:
        but = f"it went on without that until {format_duration(quiet_ms)} ago"
    else:
        return found
    text = f"may wait{found.text.removeprefix('probably waits')}; {but}"
    return replace(found, text=text, waits=False, seen=False)
