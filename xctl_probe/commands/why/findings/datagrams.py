"""Findings about UDP sockets."""

from __future__ import annotations

from xctl_probe.commands.why.findings.finding import Finding
from xctl_probe.commands.why.humanize import format_bytes, format_duration
from xctl_probe.commands.why.sockets import Udp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause
from xctl_probe.stalls.causes import TABLE

_DNS = ":53"


def of_udp(udp: Udp, waiter: Waiter, ephemeral: range) -> Finding | None:
    """Return the finding about a socket in which a thread waits."""
    if waiter.exclusive and waiter.writes and not waiter.reads:
        return _held_datagram(udp, waiter) if udp.send_queue else None
    if not waiter.reads or udp.receive_queue:
        return None
    since = f" for {format_duration(waiter.ms)}" if waiter.ms is not None else ""
    if udp.remote is not None and (waiter.exclusive or waiter.only or udp.remote.endswith(_DNS)):
        what = "a DNS answer" if udp.remote.endswith(_DNS) else "a datagram"
        how = "waits" if waiter.exclusive else "probably waits"
        text = f"{how} for {what} from {udp.remote}{since}"
        return Finding(text, True, waiter.exclusive, Cause.NO_REPLY, udp.inode, waiter.ms)
    if waiter.only and waiter.gives_up and udp.chosen_port:
        # Whether it has sent is not visible: it may wait for a reply, or for work.
        text = f"probably waits for an answer on {udp.local}{since}: it polls nothing else"
        return Finding(text, True, False, None, udp.inode, waiter.ms)
    text = f"waits for datagrams on {udp.local}"
    # On a client port it may have sent a request, which the kernel does not record.
    may_have_asked = int(udp.local.rpartition(":")[2]) in ephemeral
    return Finding(text, False, True, None, udp.inode, seen=not may_have_asked)


def _held_datagram(udp: Udp, waiter: Waiter) -> Finding:
    to = f" to {udp.remote}" if udp.remote else f" from {udp.local}"
    since = f" for {format_duration(waiter.ms)}" if waiter.ms is not None else ""
    text = (
        f"waits to send a datagram{to}{since}: {TABLE[Cause.SEND_BUFFER].text}, "
        f"its send buffer is full ({format_bytes(udp.send_queue)})"
    )
    return Finding(text, True, True, Cause.SEND_BUFFER, udp.inode, waiter.ms)
