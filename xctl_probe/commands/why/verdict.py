"""Verdict about a process, from the evidence of its threads and sockets.

Where the evidence does not decide, the stream reports nothing, and the verdict contains "probably".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from xctl_probe.commands.why.humanize import format_bytes, format_duration, pluralize
from xctl_probe.commands.why.sockets import Peer, Tcp, Udp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause
from xctl_probe.stalls.causes import TABLE
from xctl_probe.stalls.policy import REPLY_MS, STALL_MS, is_silent

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
_DNS = ":53"
_DELIVERS = ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "CLOSING", "LAST_ACK")
RECEIVES = ("ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2")


@dataclass(frozen=True, slots=True)
class Finding:
    """A wait of the process, or an idle socket.

    `waits`: the process waits for the network.  `certain`: the evidence decides; else the text
    contains "probably".  `ms`: the length, where known.  `seen` is False where it is not visible
    whether the process waits.  `expects`: replies came on this connection before.
    """

    text: str
    waits: bool
    certain: bool = True
    cause: Cause | None = None
    inode: int | None = None
    ms: float | None = None
    seen: bool = True
    expects: bool = True


def findings(
    tcp: list[Tcp],
    udp: list[Udp],
    waiting: dict[int, Waiter],
    ephemeral: range = range(32_768, 61_000),
    stall_ms: int = STALL_MS,
    *,
    first_waits: bool = False,
) -> list[Finding]:
    """Return the findings about the sockets, most relevant first.

    `ephemeral` are the ports that the kernel chooses for clients.  Waits below `stall_ms` are left
    out.  `first_waits`: the first thread waits for another one.
    """
    found = [_of_tcp(socket, waiting.get(socket.inode), first_waits=first_waits) for socket in tcp]
    used = [socket for socket in udp if socket.inode in waiting]
    found += [_of_udp(socket, waiting[socket.inode], ephemeral) for socket in used]
    return ranked(f for f in found if f is not None and (f.ms is None or f.ms >= stall_ms))


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings in order: waits, then unknown ones, then idle sockets."""
    return sorted(
        found, key=lambda f: (not f.waits, f.seen, not f.certain, not f.expects, -(f.ms or 0.0))
    )


def _of_tcp(tcp: Tcp, waiter: Waiter | None, *, first_waits: bool) -> Finding | None:
    if tcp.listening:
        if waiter and waiter.reads:
            return _idle(f"waits for connections on {tcp.local}", tcp, None)
        return None
    if tcp.state == "SYN_SENT":
        return _connecting(tcp)
    found = _sending(tcp, waiter) if tcp.state in _DELIVERS and tcp.send_queue else None
    if found is None and tcp.state in RECEIVES:
        found = _receiving(tcp, waiter, first_waits=first_waits)
    return found


def _connecting(tcp: Tcp) -> Finding:
    since = f" for {format_duration(tcp.unanswered_ms)}" if tcp.unanswered_ms is not None else ""
    tries = ""
    if tcp.retransmits:
        tries = f": {pluralize(tcp.retransmits + 1, 'SYN')} unanswered{_next_try(tcp)}"
    text = f"still connecting to {tcp.remote}{since}{tries}"
    return Finding(text, True, True, Cause.CONNECTING, tcp.inode, tcp.unanswered_ms)


def _sending(tcp: Tcp, waiter: Waiter | None) -> Finding | None:
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
        ms = tcp.full_ms if tcp.full_ms is not None else _float(tcp.last_send_ms)
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


def _receiving(tcp: Tcp, waiter: Waiter | None, *, first_waits: bool) -> Finding | None:
    reads = bool(waiter and waiter.reads)
    alone = reads and bool(waiter and waiter.exclusive)
    if tcp.hole_ms is not None and (tcp.opened or alone):
        text = (
            f"waits for a packet from {tcp.remote} that was lost: "
            f"what follows it arrived {format_duration(tcp.hole_ms)} ago"
        )
        return Finding(text, True, True, Cause.LOSS, tcp.inode, tcp.hole_ms)
    if waiter and waiter.spins and tcp.opened is not None:
        return _running(tcp, waiter)
    if waiter and waiter.naps and tcp.opened and not tcp.receive_queue:
        return _polled_between_naps(tcp)
    if not reads or tcp.receive_queue:
        return None
    idle_ms = waiter.ms if waiter else None
    if tcp.opened is None:  # /proc/net shows neither the opener nor the last sender
        if not alone:
            return None
        since = f" for {format_duration(idle_ms)}" if idle_ms is not None else ""
        text = f"probably waits for data from {tcp.remote}{since}: a thread is blocked there"
        return Finding(text, True, False, None, tcp.inode, idle_ms)
    if is_silent(tcp.unanswered_keepalives):
        return _silent(tcp, waiter, certain=alone)
    if not tcp.opened:
        return _unread_by_equal(tcp) or _of_client(tcp, waiter)
    if tcp.reply_ms is not None:
        return _reply(tcp, tcp.reply_ms, certain=alone or tcp.answered_before, alone=alone)
    if not alone:
        return _between(tcp, first_waits=first_waits)
    if tcp.last_receive_ms is None and tcp.last_send_ms is None and waiter and not waiter.first:
        return _unused(tcp)
    if tcp.last_receive_ms is None:
        return _quiet(tcp, idle_ms, f"waits for {tcp.remote} to send first")
    since = f"the last came {format_duration(tcp.last_receive_ms)} ago"
    return _quiet(
        tcp, float(tcp.last_receive_ms), f"waits for more data from {tcp.remote}: {since}"
    )


def _unused(tcp: Tcp) -> Finding:
    """Return the finding about a connection that one of several threads keeps for later."""
    text = f"has a thread in a receive from {tcp.remote}, a connection that was never used"
    return Finding(text, False, False, None, tcp.inode, seen=False)


def _polled_between_naps(tcp: Tcp) -> Finding | None:
    """Return the finding about a reply that a thread may poll for between two short sleeps."""
    ms = tcp.reply_ms
    if ms is None or ms < REPLY_MS or tcp.last_receive_ms is None:
        return None
    if tcp.peer is not None and (tcp.peer.stopped or tcp.peer.unread_bytes):
        found = _reply(tcp, ms, certain=False)
        return replace(found, text=f"{found.text}; a thread wakes up often, as if it polled for it")
    text = (
        f"asked {tcp.remote} {format_duration(ms)} ago and got no reply, and a thread wakes up "
        "often, as if it polled for it"
    )
    return Finding(text, False, False, None, tcp.inode, ms, seen=False)


def _silent(tcp: Tcp, waiter: Waiter | None, *, certain: bool) -> Finding:
    """Return the finding about unanswered keepalives: also an expected wait is a stall then."""
    state = f"whose host does not answer: {_keepalives(tcp)}"
    if not tcp.opened:
        return _idle(f"waits for its client {tcp.remote}, {state}", tcp, waiter)
    how = "waits" if certain else "probably waits"
    text = f"{how} for data from {tcp.remote}, {state}"
    return Finding(text, True, certain, Cause.KEEPALIVE, tcp.inode, _float(tcp.heard_ms))


def _keepalives(tcp: Tcp) -> str:
    since = f", nothing came for {format_duration(tcp.heard_ms)}" if tcp.heard_ms else ""
    return f"{pluralize(tcp.unanswered_keepalives, 'keepalive')} unanswered{since}"


def _reply(tcp: Tcp, ms: float, *, certain: bool, alone: bool = False) -> Finding:
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
        state += f", and it is {_held(peer)}" if peer.stopped else ""
    elif peer and peer.stopped:
        state = f"{who} is {_held(peer)}"
    elif peer and peer.waits_for is not None:
        state = f"{who} has read the request, and waits for a reply from {peer.waits_for} itself"
    elif peer and peer.computes:
        state = f"the event loop of {who} has read the request, and other threads of it compute"
    if not certain and tcp.last_receive_ms is None:
        state += "; none ever came on this connection, so it may expect none"
    text = f"{how} for a reply from {tcp.remote} for {format_duration(ms)}; {state}"
    expects = tcp.last_receive_ms is not None
    return Finding(text, True, certain, cause, tcp.inode, ms, expects=expects)


def _running(tcp: Tcp, waiter: Waiter) -> Finding | None:
    """Return the finding about a connection of a process that runs all the while.

    What it polls without sleeping is not visible here: MPI, UCX, NCCL.
    """
    if tcp.opened and tcp.reply_ms is not None:
        return _spinning(tcp, tcp.reply_ms, calls=waiter.calls)
    if not waiter.calls:
        return None
    return (None if tcp.opened else _unread_by_equal(tcp)) or _spinning_unasked(tcp)


def _spinning(tcp: Tcp, ms: float, *, calls: bool) -> Finding | None:
    """Return the finding about a busy poll for a reply, which a stopped peer proves."""
    stuck = tcp.peer is not None and (tcp.peer.stopped or tcp.peer.unread_bytes)
    if tcp.last_receive_ms is None and not (stuck and calls):
        return None
    if stuck:
        found = _reply(tcp, ms, certain=False)
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
        f"{peer.pid}) is {_held(peer)}; a thread runs in system calls, as if it polled"
    )
    return Finding(text, True, False, None, tcp.inode, float(ms))


def _unread_by_equal(tcp: Tcp) -> Finding | None:
    """Return the finding about an accepted connection whose peer does not read what was sent.

    A rank of a job waits then; a server that has replied does not.
    """
    peer, ms = tcp.peer, tcp.last_send_ms
    if peer is None or not peer.unread_bytes or ms is None or ms < REPLY_MS:
        return None
    if tcp.last_receive_ms is not None and tcp.last_receive_ms < ms:
        return None  # the peer sent last
    who = f"{peer.comm} (pid {peer.pid})" if peer.pid is not None else "the peer"
    held = f", and it is {_held(peer)}" if peer.stopped else ""
    text = (
        f"probably waits for {who} at {tcp.remote} for {format_duration(ms)}, which has not read "
        f"what was sent to it: {format_bytes(peer.unread_bytes)} lie in the queue there{held}; "
        "no wait if this was the reply of a server"
    )
    return Finding(text, True, False, Cause.NO_REPLY, tcp.inode, float(ms))


def _of_client(tcp: Tcp, waiter: Waiter | None) -> Finding:
    """Return the finding about an accepted connection without data."""
    peer = tcp.peer
    if not (peer and peer.stopped and waiter and waiter.exclusive):
        return _idle(f"waits for its client {tcp.remote} to ask something", tcp, waiter)
    text = (
        f"waits for its client {peer.comm} (pid {peer.pid}) at {tcp.remote}, which is "
        f"{_held(peer)}, maybe in the middle of a message"
    )
    return Finding(text, False, False, None, tcp.inode, waiter.ms, seen=False)


def _held(peer: Peer) -> str:
    return "frozen" if peer.frozen else "stopped"


def _between(tcp: Tcp, *, first_waits: bool) -> Finding:
    """Return the finding about an event loop whose peer sent last, maybe part of a reply."""
    peer = tcp.peer
    if peer and peer.waits_for is not None and tcp.last_receive_ms is not None:
        return _passed_on(tcp, peer, tcp.last_receive_ms)
    if peer and peer.listens and first_waits:
        # What the thread waits for may be due from a worker that the peer has given the request.
        text = (
            f"waits for another thread, and that for events; {peer.comm} (pid {peer.pid}) at "
            f"{tcp.remote} does so as well, and whether it owes something only the two programs "
            "know"
        )
        return Finding(text, False, False, None, tcp.inode, seen=False)
    if peer and peer.listens:
        text = f"waits for events; at {tcp.remote} {peer.comm} (pid {peer.pid}) awaits a request"
        return Finding(text, False, True, None, tcp.inode)
    last = "nothing came yet"
    if tcp.last_receive_ms is not None:
        last = f"the last came {format_duration(tcp.last_receive_ms)} ago"
    text = (
        f"waits for events, also from {tcp.remote}: {last}, and whether more is due only the two "
        "programs know"
    )
    return Finding(text, False, False, None, tcp.inode, seen=False)


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


def _idle(text: str, tcp: Tcp, waiter: Waiter | None) -> Finding:
    return Finding(text, False, True, None, tcp.inode, waiter.ms if waiter else None)


def _of_udp(udp: Udp, waiter: Waiter, ephemeral: range) -> Finding | None:
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


def _next_try(tcp: Tcp) -> str:
    return f", next in {format_duration(tcp.next_try_ms)}" if tcp.next_try_ms is not None else ""


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)
