"""Activity of a process that has read a request: whether it waits for more on the connection.

proc(5): task/<tid>/syscall has the call and its arguments, where the rules of ptrace allow it; else
task/<tid>/wchan has the kernel function.  fdinfo has the interest list of an epoll instance.
"""

from __future__ import annotations

import os
import time
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from xctl_probe.linux import procfs, wchan
from xctl_probe.linux.epoll import Epolls
from xctl_probe.linux.freezer import Freezer
from xctl_probe.linux.kcmp import has_own_descriptors
from xctl_probe.linux.syscalls import (
    Role,
    has_other_calls,
    is_cut,
    is_elsewhere,
    is_sleep,
    parsed,
    polled,
    resumed,
)
from xctl_probe.linux.tasks import children_of, held_state_of, reader_of

_IO_URING_ENTER = "426 "  # on every architecture
# Where a call that is not in the table may wait on a socket.
_ON_SOCKET = (*wchan.ON_SOCKETS, *wchan.EVENTS, *wchan.RING)
_MOST_THREADS = 1_024  # of one process; more are not read
_MOST_RELATIVES = 16
_MOST_PARENTS = 64  # threads whose children are read: 10 us each, for each sample of a peer
_MOST_NESTED = 16  # epoll instances that a poll has
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Activity(Enum):
    """Activity of a process, with regard to one of its sockets."""

    WAITING_ON_SOCKET = auto()  # a thread sleeps until data comes on this socket, or may
    EVENT_LOOP_BUSY = auto()  # its event loop monitors this socket, and runs now
    OTHER = auto()
    STOPPED = auto()
    LATER = auto()  # not read in time; the next sample tries again
    UNDECIDED = auto()  # a thread may wait on this socket: its call, or all of it, is not known
    UNKNOWN = auto()  # not readable


class SchedCounters(NamedTuple):
    """Scheduler counters of all threads: sleeps, time on a CPU and in the run queue (ns)."""

    sleeps: int
    ran_ns: int
    queued_ns: int

    def has_not_slept_since(self, before: SchedCounters) -> bool:
        """True when the threads have not slept since, and did not wait for a CPU."""
        ran_ns, queued_ns = self.ran_ns - before.ran_ns, self.queued_ns - before.queued_ns
        return self.sleeps == before.sleeps and ran_ns >= queued_ns


class RunTime(NamedTuple):
    """Time of a thread on a CPU, and in the queue for one until it last ran; how often it slept."""

    tid: int
    ran_ns: int
    queued_ns: int
    sleeps: int


class OwnActivity(NamedTuple):
    """Activity of a process on a socket whose reply it may wait for.

    `runs`: a thread is on a CPU, or queued for one.  `sleeps_elsewhere`: the first thread sleeps
    for a time (nanosleep), or uninterruptibly as for a disk.  `ran_ns`: CPU of all threads, to a
    tick; `system_ns`: that in system calls.  `blocked`: a thread sleeps in a receive or a poll of
    this socket, not in an event loop.  `read_ns`: when it was read (monotonic; 0: now).
    `running`: the threads that run.
    """

    activity: Activity
    runs: bool = False
    sleeps_elsewhere: bool = False
    ran_ns: int = 0
    blocked: bool = False
    system_ns: int = 0
    read_ns: int = 0
    running: tuple[RunTime, ...] = ()


class Work(NamedTuple):
    """Time on a CPU, or in the queue for one as on a busy host, by thread, of those in no poll.

    As of `read_ns` (monotonic; 0: now).
    """

    by_tid_ns: dict[int, int]
    read_ns: int = 0


def worked_ns(now: Work, before: Work) -> int:
    """Return the work between two readings of the threads that were in no poll at either."""
    earlier = before.by_tid_ns
    return sum(ns - earlier[tid] for tid, ns in now.by_tid_ns.items() if tid in earlier)


class _Thread(NamedTuple):
    """Sample of a thread: its files `syscall` and `wchan`, and whose folder has its descriptors.

    `function` is empty where the call shows what the thread waits for.
    """

    tid: int
    syscall: str
    function: str
    reader: int


class _Load(NamedTuple):
    """What a process does, whichever of its sockets is asked about: as in OwnActivity."""

    runs: bool
    sleeps_elsewhere: bool
    ran_ns: int
    system_ns: int
    read_ns: int
    running: tuple[RunTime, ...]


class Processes:
    """Reads the activity of processes; results are cached until `begin` is called."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._freezer = Freezer(proc)
        self._stopped: dict[int, bool] = {}
        self._readers: dict[int, int] = {}
        self._kin: dict[int, list[int]] = {}
        self._other_calls: dict[int, bool] = {}
        self._threads: dict[int, list[_Thread]] = {}
        self._monitored: dict[tuple[int, int], frozenset[int]] = {}
        self._epolls: dict[int, list[int]] = {}
        self._loads: dict[int, _Load] = {}
        self._partly: set[int] = set()  # processes of which not all threads are read
        self._sets = Epolls(proc)

    def begin(self) -> None:
        """Start a sample: clear the cache."""
        self._freezer.begin()
        self._stopped.clear()
        self._readers.clear()
        self._kin.clear()
        self._other_calls.clear()
        self._threads.clear()
        self._monitored.clear()
        self._epolls.clear()
        self._loads.clear()
        self._partly.clear()
        self._sets.begin()

    def stopped(self, pid: int) -> bool:
        """True while a signal, a debugger or its cgroup stops the process."""
        held = self._stopped.get(pid)
        if held is None:
            held = bool(held_state_of(pid, self._proc)) or self._freezer.frozen(pid)
            self._stopped[pid] = held
        return held

    def sched_counters(self, pid: int) -> SchedCounters:
        """Return the scheduler counters of the process."""
        sleeps = ran_ns = queued_ns = 0
        for tid in self._tids(pid):
            sleeps += self._sleep_count(pid, tid)
            times = self._schedstat(pid, tid)
            ran_ns += times.ran_ns
            queued_ns += times.queued_ns
        return SchedCounters(sleeps, ran_ns, queued_ns)

    def _schedstat(self, pid: int, tid: str) -> procfs.SchedStat:
        return procfs.schedstat(f"{self._proc}/{pid}/task/{tid}/schedstat")

    def work(self, pid: int) -> Work:
        """Return what each thread has worked that is in no poll: those of event loops are."""
        tids = (tid for tid in self._tids(pid) if not _polls(self._thread(pid, tid)))
        times = ((int(tid), self._schedstat(pid, tid)) for tid in tids)
        by_tid_ns = {tid: of_thread.ran_ns + of_thread.queued_ns for tid, of_thread in times}
        return Work(by_tid_ns, time.monotonic_ns())

    def activity(self, pid: int, inode: int, since_ns: int = 0) -> Activity:  # noqa: ARG002
        """Return the activity of `pid` on the socket `inode`, which it holds and has read empty.

        A parent or child that holds the same socket may serve it instead; so may a thread that is
        not read.  `since_ns` is of `ProcessesAside`, whose answers may be older.
        """
        found = self._activity(pid, inode)
        if found in (Activity.OTHER, Activity.EVENT_LOOP_BUSY) and pid in self._partly:
            return Activity.UNDECIDED
        if found in (Activity.OTHER, Activity.UNDECIDED):
            for relative in self._relatives(pid):
                theirs = self._activity(relative, inode)
                if theirs is Activity.WAITING_ON_SOCKET:
                    return theirs
                if theirs is Activity.UNDECIDED:
                    found = theirs
            if self._reader(pid) in self._sets.partly:
                return Activity.UNDECIDED
        return found

    def own_activity(self, pid: int, inode: int, since_ns: int = 0) -> OwnActivity:  # noqa: ARG002
        """Return the activity of `pid`, which may wait for a reply on the socket `inode`."""
        activity = self.activity(pid, inode)
        blocked = activity is Activity.WAITING_ON_SOCKET and any(
            not _in_epoll(thread) and self._waits_for(pid, inode, thread)
            for thread in self._threads_of(pid)
        )
        load = self._loads.get(pid) or self._loads.setdefault(pid, self._load(pid))
        return OwnActivity(
            activity, load.runs, load.sleeps_elsewhere, load.ran_ns, blocked, load.system_ns,
            load.read_ns, load.running,
        )  # fmt: skip

    def _load(self, pid: int) -> _Load:
        """Read one file of the process, not several of each thread: a rank has a hundred.

        Of threads that run, one more: on a busy host they wait for a CPU.
        """
        stat = procfs.parse_stat(procfs.read(f"{self._proc}/{pid}/stat"))
        state = stat.state if stat else ""  # of the first thread
        user_ticks, system_ticks = (stat.cpu_ticks if stat else None) or (0, 0)
        tids = [thread.tid for thread in self._threads_of(pid) if _runs(thread)]
        sleeps = state == "D" or (state == "S" and self._sleeps(pid))
        ran_ns, system_ns = (user_ticks + system_ticks) * _TICK_NS, system_ticks * _TICK_NS
        running = tuple(self._run_time(pid, tid) for tid in tids)
        return _Load(bool(tids), sleeps, ran_ns, system_ns, time.monotonic_ns(), running)

    def _run_time(self, pid: int, tid: int) -> RunTime:
        times = self._schedstat(pid, str(tid))
        return RunTime(tid, times.ran_ns, times.queued_ns, self._sleep_count(pid, str(tid)))

    def _sleep_count(self, pid: int, tid: str) -> int:
        status = procfs.read(f"{self._proc}/{pid}/task/{tid}/status")
        return int(procfs.status_field(status, "voluntary_ctxt_switches") or b"0")

    def _sleeps(self, pid: int) -> bool:
        first = self._thread(pid, str(pid))
        return is_sleep(first.syscall) or first.function.startswith(wchan.SLEEP)

    def _relatives(self, pid: int) -> list[int]:
        """Return its parent and the first of its children."""
        if pid not in self._kin:
            parent = [found] if (found := procfs.parent_of(pid, self._proc)) else []
            self._kin[pid] = parent + children_of(pid, self._proc, _MOST_PARENTS)[:_MOST_RELATIVES]
        return self._kin[pid]

    def _activity(self, pid: int, inode: int) -> Activity:
        if self.stopped(pid):
            return Activity.STOPPED
        undecided = False
        for thread in self._threads_of(pid):
            waits = self._waits_for(pid, inode, thread)
            if waits:
                return Activity.WAITING_ON_SOCKET
            undecided = undecided or waits is None
        if undecided:
            return Activity.UNDECIDED
        return Activity.EVENT_LOOP_BUSY if self._in_any_epoll(pid, inode) else Activity.OTHER

    def _threads_of(self, pid: int) -> list[_Thread]:
        threads = self._threads.get(pid)
        if threads is None:
            threads = self._threads[pid] = [self._thread(pid, tid) for tid in self._tids(pid)]
        return threads

    def _tids(self, pid: int) -> list[str]:
        try:
            tids = os.listdir(f"{self._proc}/{pid}/task")
        except OSError:
            return []
        if len(tids) > _MOST_THREADS:
            self._partly.add(pid)
        return tids[:_MOST_THREADS]

    def _thread(self, pid: int, tid: str) -> _Thread:
        task, reader = f"{self._proc}/{pid}/task/{tid}", self._reader(pid)
        call = resumed(procfs.word(f"{task}/syscall"), f"{task}/wchan")
        if call[:1].isdigit() and self._has_other_calls(pid):
            call = ""
        function = procfs.word(f"{task}/wchan") if _needs_function(call) else ""
        if not is_elsewhere(call) and has_own_descriptors(int(tid), reader, self._proc):
            reader = int(tid)
        return _Thread(int(tid), call, function, reader)

    def _has_other_calls(self, pid: int) -> bool:
        if pid not in self._other_calls:
            self._other_calls[pid] = has_other_calls(self._reader(pid), self._proc)
        return self._other_calls[pid]

    def _waits_for(self, pid: int, inode: int, thread: _Thread) -> bool | None:
        """Return whether the thread waits until data comes on this socket; None: not known."""
        _, syscall, function, reader = thread
        if not syscall:  # not readable: the kernel function decides
            if function.startswith(wchan.EPOLL):
                return self._in_any_epoll(pid, inode)
            return function.startswith((*wchan.POLL, *wchan.RING, *wchan.STREAM_RECEIVE))
        if syscall.startswith(_IO_URING_ENTER):
            return True
        call = parsed(syscall)
        if call is None:
            return None if function.startswith(_ON_SOCKET) else False
        name, role, arguments = call
        fd = arguments[0] & 0xFFFFFFFF
        if role is Role.EPOLL:
            return inode in self._monitored_inodes(reader, fd)
        if role is Role.POLL:
            return self._polls_socket(inode, name, arguments, reader)
        receives = role is Role.RECEIVE or (
            role is Role.MOVE and not function.startswith(wchan.PIPE)
        )
        return receives and self._inode(reader, fd) == inode

    def _polls_socket(
        self, inode: int, name: str, arguments: list[int], reader: int
    ) -> bool | None:
        asked = polled(name, arguments, reader, self._proc)
        targets = {w.fd: self._link(reader, w.fd) for w in asked if w.reads}
        if any(procfs.socket_inode(target) == inode for target in targets.values()):
            return True
        nested = [fd for fd, target in targets.items() if target == procfs.EPOLL]
        some = nested[:_MOST_NESTED]
        if any(inode in self._monitored_inodes(reader, fd) for fd in some):
            return True
        return None if len(some) < len(nested) or is_cut(name, arguments) else False

    def _in_any_epoll(self, pid: int, inode: int) -> bool:
        readers = {self._reader(pid), *(thread.reader for thread in self._threads_of(pid))}
        return any(
            inode in self._monitored_inodes(reader, fd)
            for reader in readers
            for fd in self._epolls_of(reader)
        )

    def _epolls_of(self, reader: int) -> list[int]:
        epolls = self._epolls.get(reader)
        if epolls is None:
            epolls = self._epolls[reader] = self._sets.of(reader)
        return epolls

    def _monitored_inodes(self, reader: int, epoll: int) -> frozenset[int]:
        """Return the inodes whose data this epoll instance reports."""
        known = self._monitored.get((reader, epoll))
        if known is None:
            known = self._monitored[reader, epoll] = self._sets.watches(reader, epoll)
        return known

    def _reader(self, pid: int) -> int:
        """Return the thread whose folder shows the descriptors."""
        if pid not in self._readers:
            self._readers[pid] = reader_of(pid, self._proc)
        return self._readers[pid]

    def _inode(self, reader: int, fd: int) -> int | None:
        return procfs.socket_inode(self._link(reader, fd))

    def _link(self, reader: int, fd: int) -> str:
        return procfs.link(f"{self._proc}/{reader}/fd/{fd}")


def _needs_function(syscall: str) -> bool:
    """True where the call may not be read, is not known, or waits on either of two descriptors."""
    if syscall.startswith(_IO_URING_ENTER) or is_elsewhere(syscall):
        return False
    call = parsed(syscall)
    if call:
        return call[1] is Role.MOVE
    return not syscall or syscall[0].isdigit()


def _polls(thread: _Thread) -> bool:
    call = parsed(thread.syscall)
    if call:
        return call[1] in (Role.EPOLL, Role.POLL)
    return thread.function.startswith((*wchan.POLL, *wchan.EPOLL))


def _in_epoll(thread: _Thread) -> bool:
    call = parsed(thread.syscall)
    return call[1] is Role.EPOLL if call else thread.function.startswith(wchan.EPOLL)


def _runs(thread: _Thread) -> bool:
    return thread.syscall.startswith("running") or (not thread.syscall and thread.function == "0")
