"""Threads of one process: what each waits in, and since when it has not run.

/proc/<pid>/task/<tid>/sched has the time when a thread was last on a CPU (`se.exec_start`), so the
length of its wait is known without an earlier sample.  This clock excludes interrupts and stolen
time, so it differs by CPU (kernel/sched/core.c, update_rq_clock_task): the current time is read on
the CPU where the thread ran.
"""

from __future__ import annotations

import os
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.linux import procfs
from xctl_probe.linux.syscalls import Call, Role, call_of, has_other_calls, resumed
from xctl_probe.linux.tasks import reader_of
from xctl_probe.linux.wchan import PIPE

_EXEC_START = b"se.exec_start"
_ENDED = ("Z", "X")
HELD = ("T", "t")  # stopped, or by ptrace(2)
PAGES = ("folio_", "__folio_", "filemap_fault", "wait_on_page")  # kernel functions
_PROCESSOR = 36  # field 39 of /proc/<pid>/stat, counted from the state on
_OFTEN_IN_CALLS = 0.1  # of its time on a CPU
_LEAST_TICKS = 3


@dataclass(frozen=True, slots=True)
class Thread:
    """Sample of a thread.

    `wchan` is the kernel function it sleeps in, empty when it runs or where unreadable.  `call` is
    its system call, where it uses descriptors; `call_readable` is False where /proc/<pid>/syscall
    is refused, or of a 32-bit program.  `last_ran_ms` is on the clock of CPU `cpu`.  `first`: the
    process began with it.  `in_other_call`: it is in a call without a known
    descriptor, and not in a page fault.
    """

    tid: int
    comm: str
    state: str
    wchan: str
    call: Call | None
    call_readable: bool
    cpu: int
    last_ran_ms: float | None
    idle_ms: float | None = None
    running: bool = False
    user_ticks: int = 0  # time on a CPU, in its own code and in system calls
    system_ticks: int = 0
    first: bool = False
    in_other_call: bool = False


def read_threads(pid: int, proc: Path = Path("/proc")) -> list[Thread]:
    """Return the live threads of `pid`, the first one first; empty when it is gone."""
    try:
        tids = sorted(int(name) for name in os.listdir(proc / str(pid) / "task"))
    except OSError:
        return []
    reader = reader_of(pid, proc)
    known = not has_other_calls(reader, proc)
    found = (_read_thread(pid, tid, reader, proc, known=known) for tid in tids)
    return [thread for thread in found if thread is not None and thread.state not in _ENDED]


def _read_thread(pid: int, tid: int, reader: int, proc: Path, *, known: bool) -> Thread | None:
    task = proc / str(pid) / "task" / str(tid)
    stat = procfs.parse_stat(procfs.read(task / "stat"))
    if stat is None or stat.cpu_ticks is None or not stat.fields[_PROCESSOR:]:
        return None
    if not stat.fields[_PROCESSOR].isdigit():
        return None
    (user_ticks, system_ticks), cpu = stat.cpu_ticks, int(stat.fields[_PROCESSOR])
    wchan, syscall = procfs.word(task / "wchan"), procfs.word(task / "syscall")
    call = call_of(resumed(syscall, task / "wchan"), reader, proc) if known else None
    return Thread(
        tid=tid,
        comm=procfs.command(stat.comm),
        state=stat.state,
        wchan="" if wchan == "0" else wchan,
        call=call,
        call_readable=bool(syscall) and known,
        cpu=cpu,
        last_ran_ms=_last_ran_ms(task),
        running=stat.state == "R" or syscall.startswith("running"),
        user_ticks=user_ticks,
        system_ticks=system_ticks,
        first=tid == pid,
        in_other_call=call is None and syscall[:1].isdigit(),
    )


def idle_times_ms(threads: list[Thread], proc: Path = Path("/proc")) -> dict[int, float]:
    """Return for how long each sleeping thread has not run, by tid; moves the caller over CPUs."""
    waiting = [t for t in threads if t.last_ran_ms is not None and t.state != "R"]
    found = {}
    allowed = os.sched_getaffinity(0)
    try:
        for cpu in {thread.cpu for thread in waiting} & allowed:
            os.sched_setaffinity(0, {cpu})
            now_ms = _last_ran_ms(proc / "thread-self")
            for thread in waiting:
                if thread.cpu == cpu and now_ms is not None and thread.last_ran_ms is not None:
                    found[thread.tid] = max(now_ms - thread.last_ran_ms, 0.0)
    except OSError:
        pass  # a CPU went offline, or the call is refused: earlier results are valid
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)
    return found


def is_often_in_calls(thread: Thread, before: Thread) -> bool:
    """Return whether the thread spent much of its time in system calls, as who polls busily."""
    user, system = thread.user_ticks - before.user_ticks, thread.system_ticks - before.system_ticks
    return is_much_in_calls(user, system)


def is_much_in_calls(user_ticks: int, system_ticks: int) -> bool:
    """Return whether much of this time was in system calls.

    Also where it is short: a thread that yields to others has too few ticks to decide.
    """
    ticks = user_ticks + system_ticks
    return ticks < _LEAST_TICKS or 0 < system_ticks >= ticks * _OFTEN_IN_CALLS


def naps(thread: Thread, before: Thread | None, network: Container[int] = ()) -> bool:
    """Return whether the thread ran between the samples, and is in no call on a descriptor.

    A poll with a timeout is such a sleep where none of its descriptors is in `network`.
    """
    ran_ms, ran_before_ms = thread.last_ran_ms, before.last_ran_ms if before else None
    if ran_ms is None or ran_before_ms is None or ran_ms <= ran_before_ms:
        return False
    call = thread.call
    return call is None or (call.gives_up and not any(w.fd in network for w in call.watched))


def sleeps_on(thread: Thread, before: Thread | None) -> bool:
    """Return whether the thread sleeps in the same call at both samples."""
    if thread.call is None or before is None or thread.running or before.running:
        return False
    return thread.call == before.call


def waits_for_page(thread: Thread) -> bool:
    """Return whether the thread waits for a page of a file, as in a page fault."""
    return thread.call is None and thread.wchan.startswith(PAGES)


def waits_in(thread: Thread, before: Thread | None) -> Call | None:
    """Return the call that the thread waits in, of one that runs now, the call before.

    A client with a timeout wakes up regularly to read the clock.  None for a splice that waits for
    its pipe.
    """
    if thread.call is not None:
        by_pipe = thread.call.role is Role.MOVE and thread.wchan.startswith(PIPE)
        return None if by_pipe else thread.call
    if before is None or before.call is None or not thread.running:
        return None
    return before.call if before.call.role in (Role.POLL, Role.EPOLL) else None


def _last_ran_ms(task: Path) -> float | None:
    for line in procfs.read(task / "sched").splitlines():
        if line.startswith(_EXEC_START):
            try:
                return float(line.partition(b":")[2])
            except ValueError:
                return None
    return None
