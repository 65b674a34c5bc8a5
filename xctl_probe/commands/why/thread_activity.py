"""Activity of each thread: a wait for the network, something else, or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.findings.receives import RECEIVES
from xctl_probe.commands.why.findings.sends import connects
from xctl_probe.commands.why.humanize import pluralize
from xctl_probe.commands.why.others import Other
from xctl_probe.commands.why.outside import IN_FILE_SERVERS, file_of
from xctl_probe.commands.why.sockets import Tcp, Udp
from xctl_probe.commands.why.threads import HELD, PAGES, Thread, waits_for_page
from xctl_probe.linux.syscalls import MOST_FDS, Call, Role
from xctl_probe.linux.wchan import EITHER, EVENTS, ON_SOCKETS, ON_THREADS, PIPE, RING

_FUSE = ("request_wait_answer", "fuse_")
_FUSE_SERVER = ("fuse_dev_",)
# System calls by the beginning of the name.
_OF_SOCKETS = ("recv", "send", "accept", "connect")
_UNIX = "UNIX"  # of the name of a protocol
# A completion, or an error of the device, which is not visible here; an event of rdma_cm.
_VFORK = ("kernel_clone", "wait_for_vfork", "_do_fork")  # until the child executes or exits
_RDMA = (
    "ib_uverbs_event_read",
    "ib_uverbs_comp_event_read",
    "ib_uverbs_async_event_read",
    "ucma_get_event",
)
# Activity of a thread by the beginning of the kernel function that it sleeps in.
_ACTIVITIES = (
    (("hrtimer_nanosleep", "do_nanosleep"), "sleeping"),
    (ON_THREADS, "waiting for another thread"),
    (("do_wait_intr",), "waiting for an event of its own (eventfd, timerfd)"),
    (("do_wait", "kernel_wait", *_VFORK), "waiting for a child process"),
    (PIPE, "waiting on a pipe"),
    (("unix_",), "waiting on a local (unix) socket"),
    (("n_tty_", "tty_"), "waiting for its terminal"),
    (("do_sigtimedwait", "sigsuspend", "pause", "__do_sys_pause"), "waiting for a signal"),
    ((*PAGES, "io_schedule", "blk_", "jbd2_"), "waiting for a disk"),
    (("io_wq_worker", "io_worker"), "waiting for work of io_uring"),
    (("do_freezer_trap", "get_signal", "__refrigerator"), "frozen with its cgroup"),
    (RING, "waiting in io_uring"),
    *((beginnings, f"waiting for {server}") for beginnings, server in IN_FILE_SERVERS),
    (_FUSE_SERVER, "waiting for requests to its FUSE file system"),
    (_FUSE, "waiting for the program behind a FUSE file system, which may itself wait for "
            "the network"),
    (_RDMA, "waiting for an event of RDMA"),
    (ON_SOCKETS, "waiting on a socket"),
)  # fmt: skip
_STATES = {
    "R": "running on a CPU",
    "T": "stopped",
    "t": "held by a debugger",
    "D": "waiting for a device",
}


class Kind(Enum):
    """Relation of an activity to the network."""

    ELSE = auto()  # runs, or waits for something else than the network
    FOUND = auto()  # on the network, with a finding
    ON_TIME = auto()  # on the network, without a late reply
    UNSEEN = auto()  # unknown


@dataclass(frozen=True, slots=True)
class ThreadActivity:
    """Activity of a thread; the text completes a sentence that begins with *it is*."""

    kind: Kind
    text: str


def thread_activity(diagnosis: Diagnosis, thread: Thread) -> ThreadActivity:
    """Return the activity of the thread, as far as it is visible."""
    call = diagnosis.waiting.get(thread.tid)
    if call is None or thread.running:
        return _in_fault(diagnosis, thread) or _by_wchan(thread)
    if thread.call is None:  # only the kernel function is known
        return _assumed(diagnosis, thread)
    if call.role in (Role.POLL, Role.EPOLL):
        return _for_events(diagnosis, thread)
    return _in_call(diagnosis, thread, call)


def network(diagnosis: Diagnosis, thread: Thread) -> list[Tcp | Udp]:
    """Return the TCP and UDP sockets that the thread waits on."""
    fds = _fds(diagnosis, thread)
    sockets: tuple[Tcp | Udp, ...] = (*diagnosis.tcp, *diagnosis.udp)
    return [socket for socket in sockets if socket.fd in fds]


def _fds(diagnosis: Diagnosis, thread: Thread) -> set[int]:
    call = diagnosis.waiting.get(thread.tid)
    return {watched.fd for watched in call.watched} if call else set()


def _by_wchan(thread: Thread) -> ThreadActivity:
    """Return the activity by kernel function and state alone."""
    if thread.running or thread.state == "R":
        return ThreadActivity(Kind.ELSE, _STATES["R"])
    if thread.state in HELD:
        return ThreadActivity(Kind.ELSE, _STATES[thread.state])
    text = next((what for names, what in _ACTIVITIES if thread.wchan.startswith(names)), None)
    serves = thread.wchan.startswith(_FUSE_SERVER)
    if thread.wchan.startswith((*ON_SOCKETS, *_FUSE, *_RDMA, *RING)) and not serves:
        return ThreadActivity(Kind.UNSEEN, text or "")
    if thread.wchan.startswith(tuple(name for names, _ in IN_FILE_SERVERS for name in names)):
        return ThreadActivity(Kind.FOUND, text or "")
    if text is not None:
        return ThreadActivity(Kind.ELSE, text)
    if thread.wchan.startswith(EVENTS):
        return ThreadActivity(Kind.ELSE, "waiting for events")
    if thread.state in _STATES:
        where = f" ({thread.wchan})" if thread.state == "D" and thread.wchan else ""
        return ThreadActivity(Kind.ELSE, _STATES[thread.state] + where)
    if thread.wchan:
        return ThreadActivity(Kind.ELSE, f"sleeping in {thread.wchan}")
    if thread.call_readable:
        return ThreadActivity(Kind.ELSE, "sleeping")
    return ThreadActivity(Kind.UNSEEN, "sleeping, and in what may not be read")


def _in_fault(diagnosis: Diagnosis, thread: Thread) -> ThreadActivity | None:
    """Return the activity where the thread may wait for a page of a file of a server.

    In a fault it is a mapped one; in an open(2) and the like the path is not known.
    """
    file = diagnosis.mounted if thread.in_other_call else diagnosis.mapped
    if file is None or thread.running or not waits_for_page(thread):
        return None
    how = "may use" if thread.in_other_call else "has mapped a file of"
    text = f"waiting for a page, and {how} {file.source} ({file.kind})"
    return ThreadActivity(Kind.UNSEEN, text)


def _assumed(diagnosis: Diagnosis, thread: Thread) -> ThreadActivity:
    """Return the activity where the call is unreadable, or in io_uring: on any socket."""
    text = _by_wchan(thread).text
    on = network(diagnosis, thread)
    foreign = [other for other in diagnosis.others if not other.local]
    if not on and not foreign and thread.wchan.startswith(RING):
        return ThreadActivity(Kind.UNSEEN, f"{text}, which may hold sockets of its own")
    if not on and not foreign:
        where = ", none of them from the network" if thread.wchan.startswith(EVENTS) else ""
        return ThreadActivity(Kind.ELSE, text + where)
    findings = {finding.inode: finding for finding in diagnosis.found}
    if any(finding.waits for finding in diagnosis.found):
        return ThreadActivity(Kind.FOUND, text)
    if not foreign and all(socket.inode in findings or _listens(socket) for socket in on):
        return ThreadActivity(Kind.ELSE, text)
    count = pluralize(len(on) + len(foreign), "socket")
    return ThreadActivity(Kind.UNSEEN, f"{text}, and whether on one of its {count} may not be read")


def _for_events(diagnosis: Diagnosis, thread: Thread) -> ThreadActivity:
    """Return the activity in poll, select or epoll."""
    fds = _fds(diagnosis, thread)
    foreign = [other for other in diagnosis.others if other.fd in fds and not other.local]
    if foreign:
        return ThreadActivity(Kind.UNSEEN, f"waiting for events, also on {_named(foreign[0])}")
    if fds & diagnosis.rings:
        return ThreadActivity(Kind.UNSEEN, "waiting for events, also of io_uring")
    on = network(diagnosis, thread)
    if diagnosis.waiting[thread.tid].cut and not _waits(diagnosis, on):
        return ThreadActivity(
            Kind.UNSEEN, f"waiting for events, on more than {MOST_FDS} descriptors"
        )
    if fds & diagnosis.closed and not _waits(diagnosis, on):
        text = "waiting for events, also on a descriptor that was closed"
        return ThreadActivity(Kind.UNSEEN, text)
    if not on:
        return ThreadActivity(Kind.ELSE, "waiting for events, none of them from the network")
    text = f"waiting for events, on {pluralize(len(on), 'socket')}"
    findings = {finding.inode for finding in diagnosis.found}
    watched = diagnosis.waiting[thread.tid].watched
    reads, writes = {w.fd for w in watched if w.reads}, {w.fd for w in watched if w.writes}
    dark = [s for s in on if s.inode not in findings and s.fd in reads and not s.receive_queue]
    # Without times, an idle connection may have a reply outstanding.
    if diagnosis.source != "sock_diag" and not all(_listens(socket) for socket in dark):
        return ThreadActivity(Kind.UNSEEN, text)
    if _waits(diagnosis, on):
        return ThreadActivity(Kind.FOUND, text)
    if aside := [s for s in on if s.fd not in reads | writes and _may_bring(diagnosis, s)]:
        other = f"waiting for events of {aside[0].remote} other than data"
        return ThreadActivity(Kind.UNSEEN, other)
    # Each other socket has a finding, but for a wait that is still shorter than a stall.
    young = any(isinstance(socket, Udp) or socket.state in RECEIVES for socket in dark)
    young = young or any(_empties(s) for s in on if s.inode not in findings and s.fd in writes)
    young = young or any(connects(s) for s in on if isinstance(s, Tcp))
    return ThreadActivity(Kind.ON_TIME if young else Kind.ELSE, text)


def _in_call(diagnosis: Diagnosis, thread: Thread, call: Call) -> ThreadActivity:
    """Return the activity in a call on one descriptor."""
    if call.role is Role.CLOSE:
        found = _by_wchan(thread)
        return (
            ThreadActivity(Kind.FOUND, found.text) if thread.wchan.startswith(ON_SOCKETS) else found
        )
    fds = [watched.fd for watched in call.watched]
    if on := network(diagnosis, thread):
        return _on_socket(diagnosis, call, on[0])
    for other in diagnosis.others:
        if other.fd in fds:
            if other.protocol.startswith(_UNIX) and thread.wchan.startswith(EITHER):
                return _on_closed(call, other.fd)  # it sleeps as TCP does
            if other.local:
                return ThreadActivity(Kind.ELSE, f"waiting on {other.text}")
            return ThreadActivity(Kind.UNSEEN, f"in {call.name} on {_named(other)}")
    file = file_of(call, diagnosis.files)
    if file is not None:
        text = f"in {call.name} on a file of {file.source} ({file.kind})"
        return ThreadActivity(Kind.UNSEEN if file.fuse else Kind.FOUND, text)
    on_socket = thread.wchan.startswith(ON_SOCKETS)
    closed = [fd for fd in fds if fd in diagnosis.closed or _needs_socket(call)]
    if closed and (on_socket or not thread.wchan):
        return _on_closed(call, closed[0])
    if on_socket:  # a terminal, inotify: they sleep in the same function
        return ThreadActivity(Kind.ELSE, f"in {call.name} on fd {fds[0]}, which is no socket")
    return _by_wchan(thread)


def _on_closed(call: Call, fd: int) -> ThreadActivity:
    """Return the activity on a socket that another thread closed, and that the call keeps."""
    text = f"in {call.name} on fd {fd}, a descriptor that was closed"
    return ThreadActivity(Kind.UNSEEN, text)


def _needs_socket(call: Call) -> bool:
    """Return whether the call refuses all but sockets."""
    return call.name.startswith(_OF_SOCKETS) and call.name != "sendfile"


def _on_socket(diagnosis: Diagnosis, call: Call, socket: Tcp | Udp) -> ThreadActivity:
    text = "waiting on a socket"
    finding = next((f for f in diagnosis.found if f.inode == socket.inode), None)
    if finding is not None:
        return ThreadActivity(Kind.FOUND if finding.waits else Kind.ELSE, text)
    where = socket.remote or socket.local
    return ThreadActivity(Kind.ON_TIME, f"in {call.name} on fd {socket.fd} ({where})")


def _waits(diagnosis: Diagnosis, on: list[Tcp | Udp]) -> bool:
    inodes = {socket.inode for socket in on}
    return any(f.waits and f.inode in inodes for f in diagnosis.found)


def _may_bring(diagnosis: Diagnosis, socket: Tcp | Udp) -> bool:
    """Return whether an entry without a direction is for the close of a connection, or urgent data.

    An entry that reported once (EPOLLONESHOT) has none either; a client that closes is no wait.
    """
    if isinstance(socket, Udp) or socket.state not in RECEIVES or socket.opened is False:
        return False
    return socket.inode not in diagnosis.disarmed


def _empties(socket: Tcp | Udp) -> bool:
    listens = isinstance(socket, Tcp) and socket.listening  # the limit of its queue
    return bool(socket.send_queue) and not listens


def _listens(socket: Tcp | Udp) -> bool:
    return isinstance(socket, Tcp) and socket.listening


def _named(other: Other) -> str:
    return f"{other.text} (fd {other.fd})"
