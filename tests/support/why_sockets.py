"""Sockets and threads in the states that `why` explains, and the finding about one of them."""

from __future__ import annotations

from dataclasses import replace

from xctl_probe.commands.why.sockets import Tcp
from xctl_probe.commands.why.verdict import findings
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause

FD, INODE = 7, 4_241
OPENED = Tcp(
    FD, INODE, "ESTABLISHED", "10.0.0.11:40009", "10.0.0.7:5432", 0, 0, opened=True, moved=False,
    probing=False, retransmits=0, next_try_ms=None, not_sent_bytes=0, unacked_segments=0,
    last_send_ms=12_400, last_receive_ms=13_000, peer_window_bytes=65_536,
)  # fmt: skip
ASKED = replace(OPENED, reply_ms=12_400.0)
ACCEPTED = replace(OPENED, opened=False)
CLOSED = replace(
    OPENED, send_queue=131_072, not_sent_bytes=131_072, full_ms=3_000.0, peer_window_bytes=0,
    send_cause=Cause.PEER_WINDOW,
)  # fmt: skip
IN_RECV = Waiter(reads=True, exclusive=True, ms=12_500.0)
IN_SEND = Waiter(writes=True, exclusive=True, ms=3_000.0)
IN_EPOLL = Waiter(reads=True)


def finding_of(tcp, waiter=None):
    """The one finding about a socket; None if there is none."""
    found = findings([tcp], [], {INODE: waiter} if waiter else {})
    assert len(found) <= 1
    return found[0] if found else None
