"""The explanation as text for a person, and as one JSON object for a program."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

from xctl_probe.calls import Call, Role
from xctl_probe.records import ascii_json
from xctl_probe.text import printable
from xctl_probe.why.explain import Explained
from xctl_probe.why.sockets import Tcp, Udp
from xctl_probe.why.threads import Thread
from xctl_probe.why.words import counted, folded, size, span

_MOST_FINDINGS = 5
_MOST_SOCKETS = 12  # of those that matter
_FEW_SOCKETS = 5  # else
_MOST_THREADS = 12
_MOST_WATCHED = 3
_NOTHING = "not waiting on the network"
_INDENT = " " * 10
_WIDE = 80

_EVENTS = ("ep_poll", "do_epoll", "do_poll", "poll_schedule", "do_sys_poll", "do_select")
# What a thread is doing in the kernel function that it sleeps in, by how its name begins.
_DOING = (
    (("hrtimer_nanosleep", "do_nanosleep"), "sleeping"),
    (("futex_",), "waiting for another thread"),
    (("do_wait", "kernel_wait"), "waiting for a child process"),
    (("pipe_", "anon_pipe_"), "waiting on a pipe"),
    (("unix_",), "waiting on a local (unix) socket"),
    (("n_tty_", "tty_"), "waiting for its terminal"),
    (("do_sigtimedwait", "sigsuspend", "pause"), "waiting for a signal"),
    (("rpc_", "nfs"), "waiting for an NFS server"),
    (("io_schedule", "folio_", "blk_", "wait_on_page", "jbd2_"), "waiting for a disk"),
    (("io_cqring_wait",), "waiting in io_uring"),
    (("sk_wait_data", "__skb_wait", "inet_csk_accept", "sk_stream_wait", "wait_woken",
      "sock_alloc_send", "sock_wait_for_wmem"),
     "waiting on a socket"),
)  # fmt: skip
_STATES = {
    "R": "running on a CPU",
    "T": "stopped",
    "t": "held by a debugger",
    "D": "waiting for a device",
}


def headline(told: Explained) -> str:
    """The verdict in one sentence."""
    if told.state == "T":
        return f"{_NOTHING}: it is stopped (kill -CONT {told.process.pid} lets it go on)"
    if told.state == "t":
        return f"{_NOTHING}: it is held by a debugger"
    if told.found:
        first = told.found[0]
        return first.text if first.waits else f"{_NOTHING}: it {first.text}"
    doing = Counter(_doing(told, thread) for thread in told.threads)
    if len(doing) == 1:
        return f"{_NOTHING}: it is {next(iter(doing))}"
    what = ", ".join(f"{count} {word}" for word, count in doing.most_common(_MOST_WATCHED))
    return f"{_NOTHING}: of its {len(told.threads)} threads {what}" if doing else _NOTHING


def to_text(told: Explained, width: int | None = None) -> bytes:
    """Lines for a terminal, folded to its width: the verdict first, the evidence under it."""
    lines = [f"{told.process.pid} {told.process.comm}: {headline(told)}"]
    stopped = told.state in "Tt"
    others = [f.text for f in told.found[0 if stopped else 1 :] if f.waits]
    lines += [f"  also: {text}" for text in others[:_MOST_FINDINGS]]
    if len(others) > _MOST_FINDINGS:
        lines.append(f"  also: {len(others) - _MOST_FINDINGS} more such sockets")
    if threads := list(_thread_lines(told)):
        lines += ["", *threads]
    if told.tcp or told.udp:
        lines += ["", *_socket_lines(told)]
    else:
        lines += ["", "  it has no TCP or UDP socket"]
    lines += [line for note in told.notes for line in ("", f"  note: {note}")]
    lines = [printable(line).rstrip() for line in lines]
    lines = lines if width is None else folded(lines, width)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def to_json(told: Explained) -> bytes:
    """One object on one line."""
    return ascii_json(
        {
            "pid": told.process.pid,
            "comm": told.process.comm,
            "state": told.state,
            "verdict": headline(told),
            "waits": bool(told.found and told.found[0].waits and told.state not in "Tt"),
            "findings": [dataclasses.asdict(f) for f in told.found],
            "threads": [_thread_object(told, thread) for thread in told.threads],
            "tcp": [dataclasses.asdict(socket) for socket in told.tcp],
            "udp": [dataclasses.asdict(socket) for socket in told.udp],
            "source": told.source,
            "notes": list(told.notes),
        }
    )


def _thread_object(told: Explained, thread: Thread) -> dict[str, object]:
    call = told.waiting.get(thread.tid)
    return {
        "tid": thread.tid,
        "comm": thread.comm,
        "state": thread.state,
        "wchan": thread.wchan or None,
        "idle_ms": thread.idle_ms,
        "call": call.name if call else None,
        "fds": [watched.fd for watched in call.watched] if call else [],
    }


def _thread_lines(told: Explained) -> Iterator[str]:
    """Threads that wait on the network one by one, the others by what they do."""
    others: Counter[str] = Counter()
    shown = 0
    for thread in told.threads:
        on = _network(told, thread)
        if not on or shown == _MOST_THREADS:
            others[_doing(told, thread)] += 1
            continue
        shown += 1
        idle = f", has not run for {span(thread.idle_ms)}" if thread.idle_ms is not None else ""
        where = _in_call(told.waiting[thread.tid], on)
        yield f"  thread {thread.tid} {thread.comm}: in {where}{idle}"
    for what, count in others.most_common(_MOST_THREADS):
        if shown or len(told.threads) > 1:  # of a single thread, the verdict says it
            yield f"  {counted(count, 'other thread' if shown else 'thread')}: {what}"


def _network(told: Explained, thread: Thread) -> list[Tcp | Udp]:
    """The TCP and UDP sockets that the thread waits on."""
    call = told.waiting.get(thread.tid)
    fds = {watched.fd for watched in call.watched} if call else set()
    sockets: tuple[Tcp | Udp, ...] = (*told.tcp, *told.udp)
    return [socket for socket in sockets if socket.fd in fds]


def _in_call(call: Call, on: list[Tcp | Udp]) -> str:
    if call.role in (Role.POLL, Role.EPOLL):
        named = ", ".join(f"fd {socket.fd}" for socket in on[:_MOST_WATCHED])
        more = f" and {len(on) - _MOST_WATCHED} more" if len(on) > _MOST_WATCHED else ""
        return f"{call.name} for {counted(len(on), 'socket')} ({named}{more})"
    return f"{call.name} on fd {on[0].fd}"


def _doing(told: Explained, thread: Thread) -> str:
    for beginnings, what in _DOING:
        if thread.wchan.startswith(beginnings):
            return what
    if thread.wchan.startswith(_EVENTS):
        if thread.tid not in told.waiting:
            return "waiting for events"
        on = _network(told, thread)
        what = f"on {counted(len(on), 'socket')}" if on else "none of them from the network"
        return f"waiting for events, {what}"
    if thread.state in _STATES:
        where = f" ({thread.wchan})" if thread.state == "D" and thread.wchan else ""
        return _STATES[thread.state] + where
    return f"sleeping in {thread.wchan}" if thread.wchan else "sleeping"


def _socket_lines(told: Explained) -> Iterator[str]:
    """What matters first and in full; of the rest a few, listeners and UDP last."""
    order = {finding.inode: i for i, finding in enumerate(told.found)}
    waits = {finding.inode for finding in told.found if finding.waits}
    last = len(order)
    tcp = sorted(told.tcp, key=lambda s: (order.get(s.inode, last), s.listening, s.fd))
    everything: list[Tcp | Udp] = [*tcp, *told.udp]
    matter = [socket for socket in everything if socket.inode in waits][:_MOST_SOCKETS]
    rest = [socket for socket in everything if socket.inode not in waits]
    room = max(_FEW_SOCKETS - len(matter), 2)
    shown = [*matter, *rest[:room]]
    for socket in shown:
        if isinstance(socket, Udp):
            yield from _datagrams(socket)
        else:
            yield from _listener(socket) if socket.listening else _connection(socket)
    if left := len(told.tcp) + len(told.udp) - len(shown):
        yield f"  and {counted(left, 'more socket')}; --json has them all"


def _listener(tcp: Tcp) -> Iterator[str]:
    full = "; it is full, so newcomers are turned away" if _is_full(tcp) else ""
    waiting = f"{tcp.receive_queue} of at most {tcp.send_queue} connections"
    yield f"  fd {tcp.fd:<4} tcp {tcp.local}  LISTEN, {waiting} wait to be accepted{full}"


def _is_full(tcp: Tcp) -> bool:
    return tcp.receive_queue > tcp.send_queue > 0


def _connection(tcp: Tcp) -> Iterator[str]:
    by = {True: ", opened by this process", False: ", accepted", None: ""}[tcp.opened]
    yield f"  fd {tcp.fd:<4} tcp {tcp.local} -> {tcp.remote}  {tcp.state}{by}"
    if tcp.state != "SYN_SENT":
        sent, received = _sent(tcp), _received(tcp)
        both = f"{sent}; {received}"
        yield from (f"{_INDENT}{t}" for t in ([both] if len(both) < _WIDE else [sent, received]))
    if path := _path(tcp):
        yield f"{_INDENT}{path}"
    if tcp.peer is not None:
        yield f"{_INDENT}{_peer(tcp)}"


def _sent(tcp: Tcp) -> str:
    if tcp.not_sent_bytes is None:  # /proc/net
        return f"{size(tcp.send_queue)} sent and not acknowledged"
    when = f"sent {_ago(tcp.last_send_ms)}"
    if not tcp.send_queue:
        return when if tcp.last_send_ms is None else f"{when}, all acknowledged"
    flying = counted(tcp.unacked_segments or 0, "packet")
    return (
        f"{when}, {size(tcp.send_queue)} not acknowledged "
        f"({flying} on the way, {size(tcp.not_sent_bytes)} not sent yet)"
    )


def _received(tcp: Tcp) -> str:
    unread = f"{size(tcp.receive_queue)} not read yet"
    if tcp.not_sent_bytes is None:
        return unread
    when = f"received {_ago(tcp.last_receive_ms)}"
    return f"{when}, {unread}" if tcp.receive_queue else when


def _ago(ms: int | None) -> str:
    return "nothing yet" if ms is None else f"{span(ms)} ago"


def _path(tcp: Tcp) -> str:
    """What the kernel knows of the way to the peer; parts that say nothing are left out."""
    parts = []
    if tcp.rtt_ms:
        parts.append(f"RTT {tcp.rtt_ms:.3g} ms")
    if tcp.rto_ms is not None:
        parts.append(f"timeout {span(tcp.rto_ms)}")
    if tcp.retransmits_ever is not None:
        now = f" ({tcp.retransmits} now, backoff {tcp.backoff})" if tcp.retransmits else ""
        parts.append(f"{counted(tcp.retransmits_ever, 'retransmit')} ever{now}")
    elif tcp.retransmits:
        parts.append(f"{counted(tcp.retransmits, 'retransmit')} now")
    if tcp.probing:
        parts.append("peer window closed" + _next_probe(tcp))
    elif tcp.peer_window_bytes:
        parts.append(f"peer window {size(tcp.peer_window_bytes)}")
    return ", ".join(parts)


def _next_probe(tcp: Tcp) -> str:
    return f", asked again in {span(tcp.next_try_ms)}" if tcp.next_try_ms is not None else ""


def _peer(tcp: Tcp) -> str:
    assert tcp.peer is not None
    peer = tcp.peer
    who = f"{peer.comm} (pid {peer.pid})" if peer.pid is not None else "a process not visible to us"
    stopped = ", which is STOPPED" if peer.stopped else ""
    unread = f"{size(peer.unread_bytes)} unread" if peer.unread_bytes else "nothing unread"
    return f"the other end is on this host: {who}{stopped}, with {unread}"


def _datagrams(udp: Udp) -> Iterator[str]:
    to = f" -> {udp.remote}" if udp.remote else ""
    dropped = f", {counted(udp.drops, 'datagram')} dropped ever" if udp.drops else ""
    yield (
        f"  fd {udp.fd:<4} udp {udp.local}{to}  "
        f"{size(udp.receive_queue)} to read, {size(udp.send_queue)} to send{dropped}"
    )
