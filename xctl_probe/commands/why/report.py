"""The explanation as text, and as one JSON object."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.humanize import format_bytes, format_duration, pluralize, wrap
from xctl_probe.commands.why.queue_pairs import IDLE_OR_STALLED, is_still, queue_pair_lines
from xctl_probe.commands.why.sockets import Tcp, Udp
from xctl_probe.commands.why.thread_activity import Kind, network, thread_activity
from xctl_probe.commands.why.threads import Thread
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.linux.syscalls import Call, Role
from xctl_probe.linux.tasks import held_state

_MOST_FINDINGS = 5
_MOST_SOCKETS = 12  # relevant ones
_FEW_SOCKETS = 5  # others
_MOST_THREADS = 12
_MOST_WATCHED = 3
NOTHING = "not waiting on the network"
UNSEEN = "whether it waits on the network could not be seen"
_ON_TIME = "waiting on the network, where nothing is late"
_INDENT = " " * 10
_WIDE = 80


def headline(diagnosis: Diagnosis) -> str:
    """Return the verdict in one sentence."""
    return _verdict(diagnosis)[0]


def _verdict(diagnosis: Diagnosis) -> tuple[str, bool | None]:
    """Return the sentence, and whether the process waits on the network; None where unknown."""
    if holds := _held(diagnosis):
        return f"{NOTHING}: {holds}", False
    first = diagnosis.found[0] if diagnosis.found else None
    if first and first.waits:
        return first.text, True
    if first and not first.seen:
        return f"{UNSEEN}: it {first.text}", None
    threads = [thread_activity(diagnosis, thread) for thread in diagnosis.threads]
    for kind, answer, waits in ((Kind.UNSEEN, UNSEEN, None), (Kind.ON_TIME, _ON_TIME, True)):
        texts = Counter(one.text for one in threads if one.kind is kind)
        if texts:
            return f"{answer}: {_threads(texts, len(threads))}", waits
    if not threads:
        return f"{UNSEEN}: its threads may not be read", None
    what = (
        f"it {first.text}"
        if first
        else _threads(Counter(one.text for one in threads), len(threads))
    )
    if is_still(diagnosis.queue_pairs):
        return f"{UNSEEN}: {what}, and its RDMA queue pairs are {IDLE_OR_STALLED}", None
    return f"{NOTHING}: {what}", False


def _held(diagnosis: Diagnosis) -> str | None:
    """Return what stops the whole process, None where nothing does."""
    if diagnosis.frozen:
        return "its cgroup is frozen (docker unpause, systemctl thaw, or 0 into cgroup.freeze)"
    state = held_state(thread.state for thread in diagnosis.threads)
    if state == "T":
        return f"it is stopped (kill -CONT {diagnosis.process.pid} lets it go on)"
    return "it is held by a debugger" if state else None


def _threads(texts: Counter[str], count: int) -> str:
    if len(texts) == 1 and count in (1, texts.total()):
        return f"it is {next(iter(texts))}"
    what = ", ".join(f"{n} {text}" for text, n in texts.most_common(_MOST_WATCHED))
    return f"of its {count} threads {what}"


def to_text(diagnosis: Diagnosis, width: int | None = None) -> bytes:
    """Return the text for a terminal, folded to its width: the verdict, then the evidence."""
    lines = [f"{diagnosis.process.pid} {diagnosis.process.comm}: {headline(diagnosis)}"]
    others = [f.text for f in diagnosis.found[0 if _held(diagnosis) else 1 :] if f.waits]
    lines += [f"  also: {text}" for text in others[:_MOST_FINDINGS]]
    if len(others) > _MOST_FINDINGS:
        lines.append(f"  also: {len(others) - _MOST_FINDINGS} more such sockets")
    if threads := list(_thread_lines(diagnosis)):
        lines += ["", *threads]
    if diagnosis.tcp or diagnosis.udp:
        lines += ["", *_socket_lines(diagnosis)]
    else:
        lines += ["", f"  {_no_socket(diagnosis)}"]
    if diagnosis.queue_pairs:
        lines += ["", *queue_pair_lines(diagnosis.queue_pairs)]
    lines += [line for note in diagnosis.notes for line in ("", f"  note: {note}")]
    lines = [printable(line).rstrip() for line in lines]
    lines = lines if width is None else wrap(lines, width)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def to_json(diagnosis: Diagnosis) -> bytes:
    """Return one JSON object on one line."""
    verdict, waits = _verdict(diagnosis)
    return ascii_json(
        {
            "pid": diagnosis.process.pid,
            "comm": diagnosis.process.comm,
            "state": diagnosis.state,
            "verdict": verdict,
            "waits": waits,
            "frozen": diagnosis.frozen,
            "findings": [dataclasses.asdict(f) for f in diagnosis.found],
            "threads": [_thread_object(diagnosis, thread) for thread in diagnosis.threads],
            "tcp": [dataclasses.asdict(socket) for socket in diagnosis.tcp],
            "udp": [dataclasses.asdict(socket) for socket in diagnosis.udp],
            "others": [dataclasses.asdict(socket) for socket in diagnosis.others],
            "queue_pairs": [dataclasses.asdict(one) for one in diagnosis.queue_pairs],
            "source": diagnosis.source,
            "notes": list(diagnosis.notes),
        }
    )


def _no_socket(diagnosis: Diagnosis) -> str:
    texts = Counter(socket.text for socket in diagnosis.others if not socket.local)
    if not texts:
        return "it has no TCP or UDP socket"
    return "it has no TCP or UDP socket that can be seen, but " + ", ".join(texts)


def _thread_object(diagnosis: Diagnosis, thread: Thread) -> dict[str, object]:
    call = diagnosis.waiting.get(thread.tid)
    return {
        "tid": thread.tid,
        "comm": thread.comm,
        "state": thread.state,
        "wchan": thread.wchan or None,
        "idle_ms": thread.idle_ms,
        "call": call.name if call else None,
        "fds": [watched.fd for watched in call.watched] if call else [],
    }


def _thread_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield a line for each thread that waits on the network, and one for each other activity."""
    others: Counter[str] = Counter()
    shown = 0
    for thread in diagnosis.threads:
        on = network(diagnosis, thread)
        if not on or shown == _MOST_THREADS:
            others[thread_activity(diagnosis, thread).text] += 1
            continue
        shown += 1
        idle = (
            f", has not run for {format_duration(thread.idle_ms)}"
            if thread.idle_ms is not None
            else ""
        )
        where = _in_call(diagnosis.waiting[thread.tid], on)
        yield f"  thread {thread.tid} {thread.comm}: in {where}{idle}"
    for what, count in others.most_common(_MOST_THREADS):
        if shown or len(diagnosis.threads) > 1:  # the verdict covers a single thread
            yield f"  {pluralize(count, 'other thread' if shown else 'thread')}: {what}"


def _in_call(call: Call, on: list[Tcp | Udp]) -> str:
    if call.role in (Role.POLL, Role.EPOLL):
        named = ", ".join(f"fd {socket.fd}" for socket in on[:_MOST_WATCHED])
        more = f" and {len(on) - _MOST_WATCHED} more" if len(on) > _MOST_WATCHED else ""
        return f"{call.name} for {pluralize(len(on), 'socket')} ({named}{more})"
    return f"{call.name} on fd {on[0].fd}"


def _socket_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield all relevant sockets, then a few others; listeners and UDP last."""
    order = {finding.inode: i for i, finding in enumerate(diagnosis.found)}
    waits = {finding.inode for finding in diagnosis.found if finding.waits}
    last = len(order)
    tcp = sorted(diagnosis.tcp, key=lambda s: (order.get(s.inode, last), s.listening, s.fd))
    everything: list[Tcp | Udp] = [*tcp, *diagnosis.udp]
    matter = [socket for socket in everything if socket.inode in waits][:_MOST_SOCKETS]
    rest = [socket for socket in everything if socket.inode not in waits]
    room = max(_FEW_SOCKETS - len(matter), 2)
    shown = [*matter, *rest[:room]]
    for socket in shown:
        if isinstance(socket, Udp):
            yield from _datagrams(socket)
        else:
            yield from _listener(socket) if socket.listening else _connection(socket)
    if left := len(diagnosis.tcp) + len(diagnosis.udp) - len(shown):
        yield f"  and {pluralize(left, 'more socket')}; --json has them all"


def _listener(tcp: Tcp) -> Iterator[str]:
    full = "; it is full, so newcomers are turned away" if _is_full(tcp) else ""
    most = "" if _is_of_proc_net(tcp) else f" of at most {tcp.send_queue}"
    waiting = f"{tcp.receive_queue}{most} connections"
    yield f"  fd {tcp.fd:<4} tcp {tcp.local}  LISTEN, {waiting} wait to be accepted{full}"


def _is_full(tcp: Tcp) -> bool:
    # One more than the backlog fits: sk_acceptq_is_full(), include/net/sock.h.
    return not _is_of_proc_net(tcp) and tcp.receive_queue > tcp.send_queue


def _is_of_proc_net(tcp: Tcp) -> bool:
    """Return whether /proc/net shows the socket: without times, and without a listener's limit."""
    return tcp.not_sent_bytes is None


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
        return f"{format_bytes(tcp.send_queue)} sent and not acknowledged"
    when = f"sent {_ago(tcp.last_send_ms)}"
    if not tcp.send_queue:
        return when if tcp.last_send_ms is None else f"{when}, all acknowledged"
    flying = pluralize(tcp.unacked_segments or 0, "packet")
    return (
        f"{when}, {format_bytes(tcp.send_queue)} not acknowledged "
        f"({flying} on the way, {format_bytes(tcp.not_sent_bytes)} not sent yet)"
    )


def _received(tcp: Tcp) -> str:
    unread = f"{format_bytes(tcp.receive_queue)} not read yet"
    if tcp.not_sent_bytes is None:
        return unread
    when = f"received {_ago(tcp.last_receive_ms)}"
    return f"{when}, {unread}" if tcp.receive_queue else when


def _ago(ms: int | None) -> str:
    return "nothing yet" if ms is None else f"{format_duration(ms)} ago"


def _path(tcp: Tcp) -> str:
    """Return what the kernel knows of the path to the peer, without empty parts."""
    parts = []
    if tcp.rtt_ms:
        parts.append(f"RTT {tcp.rtt_ms:.3g} ms")
    if tcp.rto_ms is not None:
        parts.append(f"timeout {format_duration(tcp.rto_ms)}")
    if tcp.retransmits_ever is not None:
        now = f" ({tcp.retransmits} now, backoff {tcp.backoff})" if tcp.retransmits else ""
        parts.append(f"{pluralize(tcp.retransmits_ever, 'retransmit')} ever{now}")
    elif tcp.retransmits:
        parts.append(f"{pluralize(tcp.retransmits, 'retransmit')} now")
    if tcp.unanswered_keepalives:
        parts.append(f"{pluralize(tcp.unanswered_keepalives, 'keepalive')} unanswered")
    if tcp.probing and tcp.window_closed:
        parts.append("peer window closed" + _next_probe(tcp))
    elif tcp.peer_window_bytes:
        parts.append(f"peer window {format_bytes(tcp.peer_window_bytes)}")
    return ", ".join(parts)


def _next_probe(tcp: Tcp) -> str:
    return (
        f", asked again in {format_duration(tcp.next_try_ms)}"
        if tcp.next_try_ms is not None
        else ""
    )


def _peer(tcp: Tcp) -> str:
    assert tcp.peer is not None
    peer = tcp.peer
    who = f"{peer.comm} (pid {peer.pid})" if peer.pid is not None else "a process not visible to us"
    held = "FROZEN" if peer.frozen else "STOPPED"
    stopped = f", which is {held}" if peer.stopped else ""
    unread = f"{format_bytes(peer.unread_bytes)} unread" if peer.unread_bytes else "nothing unread"
    return f"the peer is on this host: {who}{stopped}, with {unread}"


def _datagrams(udp: Udp) -> Iterator[str]:
    to = f" -> {udp.remote}" if udp.remote else ""
    dropped = f", {pluralize(udp.drops, 'datagram')} dropped ever" if udp.drops else ""
    yield (
        f"  fd {udp.fd:<4} udp {udp.local}{to}  "
        f"{format_bytes(udp.receive_queue)} to read, "
        f"{format_bytes(udp.send_queue)} to send{dropped}"
    )
