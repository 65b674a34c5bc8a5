"""Two samples of a process and its sockets, and the findings from them."""

from __future__ import annotations

import os
import select
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import NamedTuple

from xctl_probe.commands.why.access import fds_of, has_ended
from xctl_probe.commands.why.closing import closed_sockets
from xctl_probe.commands.why.findings.finding import Finding, ranked
from xctl_probe.commands.why.namespaces import enter, is_elsewhere, namespaces_of
from xctl_probe.commands.why.others import (
    File,
    Other,
    distant_files,
    mapped_file,
    mounted_file,
    other_sockets,
)
from xctl_probe.commands.why.outside import outside
from xctl_probe.commands.why.places import Place
from xctl_probe.commands.why.proc_sampler import ProcSampler, udp_sockets
from xctl_probe.commands.why.queue_pairs import ProcessQueuePair, QueuePairSampler
from xctl_probe.commands.why.sockets import Tcp, Udp
from xctl_probe.commands.why.threads import (
    HELD,
    Thread,
    idle_times_ms,
    is_often_in_calls,
    naps,
    read_threads,
    sleeps_on,
    waits_for_page,
    waits_in,
)
from xctl_probe.commands.why.verdict import findings
from xctl_probe.commands.why.waiters import Waiter, by_first_descriptors, waiters
from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.events import Process
from xctl_probe.linux import epoll_fdinfo, wchan
from xctl_probe.linux.epoll import Epolls
from xctl_probe.linux.freezer import Freezer
from xctl_probe.linux.helper import Helper
from xctl_probe.linux.procfs import IO_URING, link, read, read_process, socket_inode
from xctl_probe.linux.syscalls import TO_WRITE, Call, Role, Watched, has_other_calls
from xctl_probe.linux.tasks import children_of, held_state, reader_of, state_of
from xctl_probe.sources.privileges import WHY_ELSEWHERE
from xctl_probe.stalls.policy import STALL_MS

BETWEEN_S = 0.3
_MOST_CHILDREN = 3
_WIDE_APART_S = 1.2  # as on a busy host: a thread that ran in between may have woken up once
_MOST_LINKS = 256
_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Samples and findings of one process; `waiting` are the threads that wait on descriptors.

    `source` is the source of the TCP sockets; `notes` name what could not be observed, and the
    remedy.
    """

    process: Process
    state: str
    threads: tuple[Thread, ...]
    waiting: dict[int, Call]
    tcp: tuple[Tcp, ...]
    udp: tuple[Udp, ...]
    found: tuple[Finding, ...]
    source: str
    notes: tuple[str, ...]
    others: tuple[Other, ...] = ()  # sockets that are not among `tcp` and `udp`
    files: dict[int, File] = field(default_factory=dict)  # by descriptor: those a thread is in
    frozen: bool = False  # its cgroup is
    queue_pairs: tuple[ProcessQueuePair, ...] = ()
    rings: frozenset[int] = frozenset()  # descriptors of io_uring that a thread polls
    closed: frozenset[int] = frozenset()  # descriptors in a call that are no longer what they were
    disarmed: frozenset[int] = frozenset()  # inodes in an epoll instance that report nothing now
    mapped: File | None = None  # such a file in memory, where a thread is in a page fault
    mounted: File | None = (
        None  # such a file system, where one waits for a page in a call on a path
    )


def diagnose(pid: int, *, sock_diag: bool = True, stall_ms: int = STALL_MS) -> Diagnosis:
    """Sample twice, `BETWEEN_S` apart; without `sock_diag` from /proc/net only.

    `stall_ms` is the stall length.  A child process reads: a process may hold its reader up (memory
    on a FUSE file system, execve(2)), and the child may move to another CPU or network namespace.

    Raises UsageError for a pid that is invalid, gone or unreadable.
    """
    if not 0 < pid <= _LARGEST_PID:
        raise UsageError(f"why {pid}: no such process; `ps -e` lists all")
    helper = Helper(_answer, lambda _: None, WHY_ELSEWHERE.needs)
    try:
        outcome = helper.read(_Question(pid, sock_diag, stall_ms))
        hangs = helper.pid is not None
    finally:
        helper.close()
    if isinstance(outcome, Diagnosis):
        return outcome
    if isinstance(outcome, Exception):
        raise outcome
    if hangs:
        raise ProbeError(
            f"why {pid}: could not be seen, because reading what it or its peer waits in does not "
            "return: its memory or a file that it closes lies on a file system that does not answer"
        )
    raise ProbeError(
        f"why {pid}: the process that reads it could not be started or has ended; raise the limits "
        "of memory and processes (ulimit -a)"
    )


class _Question(NamedTuple):
    """Request to the child."""

    pid: int
    sock_diag: bool
    stall_ms: int


def _answer(question: _Question) -> Diagnosis | Exception:
    try:
        return _sample_twice(question.pid, question.sock_diag, question.stall_ms)
    except Exception as error:
        return error


def _sample_twice(pid: int, sock_diag: bool, stall_ms: int) -> Diagnosis:
    process = _alive(pid)
    fds = fds_of(pid)
    refused = "--no-sock-diag was given" if not sock_diag else None
    reader = reader_of(pid)
    if refused is None and is_elsewhere(reader) and not enter(reader):
        refused = (
            "it lives in another network namespace, which only root may enter "
            f"(sudo xctl-probe-network why {pid})"
        )
    if refused is None:
        try:
            return _sample_diag(process, fds, stall_ms)
        except OSError as error:
            refused = f"sock_diag is refused here ({error.strerror})"
    note = f"{refused}; /proc/net has queues and timers, but no times, nor which side sent last"
    return _sample_proc(process, fds, stall_ms, [note])


@dataclass(frozen=True, slots=True)
class _Seen:
    """Result of two samples, `apart_s` apart; `fds` is descriptor by inode."""

    apart_s: float
    before: list[Thread]
    after: list[Thread]
    fds: dict[int, int]
    tcp: list[Tcp]
    udp: list[Udp]
    queue_pairs: tuple[ProcessQueuePair, ...]


def _sample_diag(process: Process, fds: dict[int, int], stall_ms: int) -> Diagnosis:
    pid = process.pid
    with ExitStack() as stack:
        places = [Place(stall_ms=stall_ms, pid=pid)]
        stack.callback(places[0].close)
        places[0].dump()
        begun_s, before = time.monotonic(), read_threads(pid)
        closed = closed_sockets(pid, before, places[0].messages)
        there = other_sockets(reader_of(pid), fds, places[0].inodes())
        strangers = [socket.fd for socket in there if socket.internet]
        for namespace in stack.enter_context(namespaces_of(pid, strangers)):
            with suppress(OSError):
                place = Place(namespace, stall_ms=stall_ms, pid=pid)
                stack.callback(place.close)
                place.dump()
                places.append(place)
        queue_pairs = QueuePairSampler(pid)
        stack.callback(queue_pairs.close)
        for place in places:
            place.sample(closed | fds)
        queue_pairs.sample()
        time.sleep(BETWEEN_S)
        fds = closed | fds_of(pid)
        for place in places:
            place.dump()
            place.sample(fds)
        queue_pairs.sample()
        after = read_threads(pid)
        tcp = [socket for place in places for socket in place.tcp(fds)]
        udp = [socket for place in places for socket in place.udp(fds)]
        seen = _Seen(time.monotonic() - begun_s, before, after, fds, tcp, udp, queue_pairs.result())
        return _diagnosis(process, seen, "sock_diag", [], stall_ms)


def _sample_proc(
    process: Process, fds: dict[int, int], stall_ms: int, notes: list[str]
) -> Diagnosis:
    pid, reader = process.pid, reader_of(process.pid)
    sampler = ProcSampler(reader)
    queue_pairs = QueuePairSampler(pid)
    try:
        sampler.sample(fds)
        begun_s, before = time.monotonic(), read_threads(pid)
        queue_pairs.sample()
        time.sleep(BETWEEN_S)
        fds = fds_of(pid)
        sampler.sample(fds)
        queue_pairs.sample()
    except OSError as error:
        raise ProbeError(
            f"neither sock_diag nor /proc/{reader}/net can be read here "
            f"({error.strerror}); mount /proc, or allow AF_NETLINK sockets"
        ) from error
    finally:
        queue_pairs.close()
    after = read_threads(pid)
    udp = udp_sockets(reader, fds)
    seen = _Seen(
        time.monotonic() - begun_s, before, after, fds, sampler.tcp(fds), udp, queue_pairs.result()
    )
    return _diagnosis(process, seen, "/proc/net", notes, stall_ms)


def _diagnosis(
    process: Process, seen: _Seen, source: str, notes: list[str], stall_ms: int
) -> Diagnosis:
    _same(process)
    reader = reader_of(process.pid)
    idle_ms = idle_times_ms(seen.after)
    threads = [replace(thread, idle_ms=idle_ms.get(thread.tid)) for thread in seen.after]
    network = {s.inode for s in seen.tcp} | {s.inode for s in seen.udp}
    others = other_sockets(reader, seen.fds, network)
    foreign = [socket for socket in others if not socket.local]
    earlier = {thread.tid: thread for thread in seen.before}
    waiting: list[tuple[Thread, Call]] = []
    held = held_state(thread.state for thread in threads)
    for thread in threads:
        if thread.state in HELD and not held:
            continue  # by ptrace: it goes on in its call only then
        call = waits_in(thread, earlier.get(thread.tid))
        call = call or _assumed(thread, seen.fds, network, alone=not foreign)
        if call is not None:
            waiting.append((thread, by_first_descriptors(call, seen.fds, reader)))
    if network and any(not thread.call_readable for thread in threads):
        notes.append(_about_calls(reader))
    files = distant_files(reader, _files_in_use(waiting, seen.fds))
    sleepers = {t.tid for t in threads if sleeps_on(t, earlier.get(t.tid))}
    waited = waiters(waiting, seen.fds, network, sleepers)
    at_pages = [thread for thread in threads if waits_for_page(thread)]
    links = _links(reader, waiting, seen.fds)
    network_fds = {seen.fds[inode] for inode in network}
    running = [t for t in threads if t.running and t.tid in earlier and earlier[t.tid].running]
    computes = any(not is_often_in_calls(t, earlier[t.tid]) for t in running)
    if running:
        calls = any(is_often_in_calls(t, earlier[t.tid]) for t in running)
        waited = {s.inode: Waiter(spins=True, calls=calls) for s in seen.tcp} | waited
    elif seen.apart_s < _WIDE_APART_S and _has_naps(threads, earlier, waiting, network_fds):
        waited = {s.inode: Waiter(naps=True) for s in seen.tcp} | waited
    found = findings(
        seen.tcp, seen.udp, waited, _ephemeral(), stall_ms,
        first_waits=any(t.first and t.wchan.startswith(wchan.ON_THREADS) for t in threads),
        computes=computes,
    )  # fmt: skip
    if not any(finding.waits for finding in found):
        notes += _about_children(process.pid)
    return Diagnosis(
        process=process,
        state=state_of(process.pid),
        threads=tuple(threads),
        waiting={thread.tid: call for thread, call in waiting},
        tcp=tuple(seen.tcp),
        udp=tuple(seen.udp),
        found=tuple(ranked([*found, *outside(waiting, threads, files, stall_ms)])),
        source=source,
        notes=tuple(notes),
        others=tuple(others),
        files=files,
        frozen=Freezer().frozen(process.pid),
        queue_pairs=seen.queue_pairs,
        rings=frozenset(fd for fd, target in links.items() if target == IO_URING),
        closed=_closed(links, waiting, seen.before),
        disarmed=_disarmed(reader, waiting),
        mapped=mapped_file(reader) if any(not t.in_other_call for t in at_pages) else None,
        mounted=mounted_file(reader) if any(t.in_other_call for t in at_pages) else None,
    )


def _has_naps(
    threads: list[Thread],
    earlier: dict[int, Thread],
    waiting: list[tuple[Thread, Call]],
    network: set[int],
) -> bool:
    """Return whether a thread sleeps again and again; `network` are the descriptors of sockets."""
    calls = {thread.tid: call for thread, call in waiting}
    sampled = (replace(t, call=t.call and calls.get(t.tid, t.call)) for t in threads)
    return any(naps(thread, earlier.get(thread.tid), network) for thread in sampled)


def _about_calls(reader: int) -> str:
    """Return the note on calls that are not readable, with the remedy."""
    if has_other_calls(reader):
        return "on which socket a thread waits is not visible, because this is a 32-bit program"
    remedy = "" if os.geteuid() == 0 else ": run as root to see it"
    return (
        "on which socket a thread waits may not be read here (/proc/PID/syscall; Yama's "
        f"kernel.yama.ptrace_scope, or a container's rules){remedy}"
    )


def _about_children(pid: int) -> list[str]:
    """Return the note on whom else to ask about: a shell, a launcher or a master waits for them."""
    pids = children_of(pid)
    children = [child for child in map(read_process, pids[:_MOST_CHILDREN]) if child is not None]
    if not children:
        return []
    named = ", ".join(f"{child.comm} (pid {child.pid})" for child in children)
    more = f" and {len(pids) - len(children)} more" if len(pids) > len(children) else ""
    return [f"it has children: {named}{more}; `why {children[0].pid}` explains the first"]


def _links(reader: int, waiting: list[tuple[Thread, Call]], fds: dict[int, int]) -> dict[int, str]:
    """Return the targets of descriptors in calls that are not sockets; of closed ones, empty."""
    used = {w.fd for _, call in waiting if call.role is not Role.CLOSE for w in call.watched}
    some = islice(sorted(used - set(fds.values())), _MOST_LINKS)
    return {fd: link(f"/proc/{reader}/fd/{fd}") for fd in some}


def _closed(
    links: dict[int, str], waiting: list[tuple[Thread, Call]], before: list[Thread]
) -> frozenset[int]:
    """Return the descriptors of calls that are closed, or a socket that came after the samples.

    In a poll it has to have been at the first sample, too: a server's come and go.
    """
    direct = (call for _, call in waiting if call.role not in (Role.POLL, Role.EPOLL))
    earlier = (thread.call for thread in before if thread.call is not None)
    used = {w.fd for call in chain(direct, earlier) for w in call.watched}
    found = (fd for fd, to in links.items() if not to or socket_inode(to) is not None)
    return frozenset(fd for fd in found if fd in used)


def _disarmed(reader: int, waiting: list[tuple[Thread, Call]]) -> frozenset[int]:
    """Return the inodes of entries that wait for nothing now, or for room at an edge.

    Read where a call has a descriptor without a direction.  Disarmed entries lack EPOLLHUP, too:
    fs/eventpoll.c, EP_PRIVATE_BITS.
    """
    if not any(not w.reads and not w.writes for _, call in waiting for w in call.watched):
        return frozenset()
    texts = (read(f"/proc/{reader}/fdinfo/{fd}") for fd in Epolls().of(reader))
    entries = (entry for text in texts for entry in epoll_fdinfo.entries(text))
    return frozenset(
        e.inode for e in entries if not e.events & select.EPOLLHUP or e.events & TO_WRITE
    )


def _files_in_use(waiting: list[tuple[Thread, Call]], fds: dict[int, int]) -> set[int]:
    """Return the descriptors of calls that are not sockets."""
    direct = (call for _, call in waiting if call.role not in (Role.POLL, Role.EPOLL))
    return {w.fd for call in direct for w in call.watched} - set(fds.values())


def _ephemeral() -> range:
    """Return the ports that the kernel chooses for clients, in the namespace of this thread."""
    try:
        low, high = read("/proc/sys/net/ipv4/ip_local_port_range").split()
        return range(int(low), int(high) + 1)
    except ValueError:  # it cannot be read
        return range(32_768, 61_000)


def _assumed(thread: Thread, fds: dict[int, int], network: set[int], *, alone: bool) -> Call | None:
    """Return the call that the kernel function implies, where the call is unreadable."""
    sending = thread.wchan.startswith(wchan.SEND)
    direct = thread.wchan.startswith(wchan.ON_SOCKETS)
    unreadable = not thread.call_readable and (
        direct or thread.wchan.startswith((*wchan.EVENTS, *wchan.RING))
    )
    # Requests of io_uring are not visible.
    if not unreadable and not thread.wchan.startswith(wchan.RING):
        return None
    watched = tuple(
        Watched(fd, not sending, sending) for inode, fd in fds.items() if inode in network
    )
    return Call(thread.wchan, Role.POLL if direct and alone else Role.EPOLL, watched)


def _alive(pid: int) -> Process:
    process = read_process(pid)
    if process is None:
        raise UsageError(f"why {pid}: no such process; `ps -e` lists all")
    if has_ended(pid):
        raise UsageError(f"why {pid}: {process.comm} has ended; its parent has yet to notice")
    return process


def _same(process: Process) -> None:
    now = read_process(process.pid)
    if now is None or now.start_ticks != process.start_ticks or has_ended(process.pid):
        raise UsageError(f"why {process.pid}: {process.comm} exited during the samples")
