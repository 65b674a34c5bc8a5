"""The command `profile`: measures one process for a few seconds."""

from __future__ import annotations

import errno
import os
import platform
import random
import select
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace

import psutil

from xctl_probe.commands.profile.bound import bound_by
from xctl_probe.commands.profile.categories import Category, category_of, flags
from xctl_probe.commands.profile.numbers import numbers
from xctl_probe.commands.profile.profiled import CallCounts, Profiled
from xctl_probe.commands.profile.report import to_json, to_text
from xctl_probe.commands.profile.threads import ThreadSamples
from xctl_probe.commands.profile.usage import Queues, Usage, read_usage, used_between
from xctl_probe.ebpf.profile import KernelProfile
from xctl_probe.errors import SourceUnavailable, UsageError
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.linux import procfs
from xctl_probe.linux.syscalls import has_other_calls
from xctl_probe.linux.tasks import reader_of
from xctl_probe.signals import stop_signals

_LONGEST_S = 3_600.0
_SAMPLE_S = 0.02  # between two samples of the threads, on average
_SEARCH_S = 0.5  # between two searches for children and threads, at least
_SEARCH_PAUSE = 20  # times the length of the last one


def run(
    pid: int,
    stdout: int,
    *,
    seconds: float,
    children: bool,
    as_json: bool,
    report: Callable[[str], None],
    log: Callable[[str], None] | None = None,
) -> None:
    """Write the profile of a process to `stdout`.

    `report` receives the line about what is missing without privileges.  Raises UsageError for a
    pid that is gone, or is no process whose calls can be named.
    """
    if not 0 < seconds <= _LONGEST_S:
        raise UsageError(f"profile --seconds {seconds:g}: give seconds above 0, to {_LONGEST_S:g}")
    comm = _checked(pid)
    profiled = _Profile(pid, comm, children=children).measure(seconds, report, log)
    write_answer(stdout, to_json(profiled) if as_json else to_text(profiled))


def _checked(pid: int) -> str:
    """Return the name of the process.  Raises UsageError."""
    process = procfs.read_process(pid) if pid > 0 else None
    if process is None:
        raise UsageError(f"profile {pid}: no such process; `ps -e` lists all")
    leader = procfs.status_field(procfs.read(f"/proc/{pid}/status"), "Tgid")
    if leader.isdigit() and int(leader) != pid:
        raise UsageError(f"profile {pid}: a thread, not a process; its process is {int(leader)}")
    if procfs.is_kernel_thread(pid):
        raise UsageError(f"profile {pid}: a thread of the kernel makes no system calls")
    if not numbers(platform.machine()):
        raise UsageError(f"profile: the calls of {platform.machine()} are not known, only those of "
                         "x86-64 and arm64")  # fmt: skip
    if has_other_calls(reader_of(pid)):
        raise UsageError(
            f"profile {pid}: a program of 32 bits; the numbers of its calls are others"
        )
    if not procfs.word(f"/proc/{pid}/syscall"):
        raise UsageError(
            f"profile {pid}: what its threads wait in is not readable; "
            "run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
        )
    return process.comm


class _Profile:
    """One measurement: what was used, samples of the threads, and the kernel's counts."""

    def __init__(self, pid: int, comm: str, *, children: bool) -> None:
        self._pid = pid
        self._comm = comm
        self._children = children
        self._names = numbers(platform.machine())
        self._samples = ThreadSamples(self._names)
        self._before: dict[int, Usage | None] = {}
        self._after: dict[int, Usage | None] = {}  # the last that was readable
        self._queues = Queues()
        self._pids = [pid]

    def measure(
        self, seconds: float, report: Callable[[str], None], log: Callable[[str], None] | None
    ) -> Profiled:
        """Measure until the time is over, the process exits, or a signal comes."""
        with ExitStack() as stack:
            stop = stack.enter_context(stop_signals())
            ended = self._exit_of(stack)
            kernel = None
            try:
                kernel = KernelProfile(
                    self._pid, flags(self._names), children=self._children, log=log
                )
                stack.callback(kernel.close)
            except SourceUnavailable as refusal:
                report(f"calls are sampled from /proc, not counted: {refusal}")
            begin_ns = time.monotonic_ns()
            self._find_children(first=True)
            self._sample_until(begin_ns + round(seconds * 1e9), [stop.fileno(), *ended])
            calls = None if kernel is None else self._calls(kernel)
            failures = None if kernel is None else self._failures(kernel)
            lost = 0 if kernel is None else kernel.lost()
            elapsed_ns = time.monotonic_ns() - begin_ns
            self._read_usage()
            self._queues.add(self._pids)
        usage = used_between(
            [self._before.get(pid) for pid in self._after], list(self._after.values())
        )
        usage = replace(usage, queued_ns=self._queues.queued_ns)
        memory_ns = sum(c.total_ns for c in calls or () if c.category is Category.MEMORY)
        ran_ns = usage.cpu_ns + usage.queued_ns
        bound = bound_by(
            self._samples, *(ns / elapsed_ns for ns in (ran_ns, memory_ns, usage.queued_ns))
        )
        return Profiled(
            self._pid, self._comm, elapsed_ns, len(self._pids), bound, usage, self._samples,
            calls, failures, lost,
        )  # fmt: skip

    def _exit_of(self, stack: ExitStack) -> list[int]:
        """Return a descriptor that is readable once the process has exited."""
        with suppress(OSError):  # gone already, or seccomp
            fd = os.pidfd_open(self._pid)
            stack.callback(os.close, fd)
            return [fd]
        return []

    def _sample_until(self, end_ns: int, descriptors: list[int]) -> None:
        poll = select.poll()
        for fd in descriptors:
            poll.register(fd, select.POLLIN)
        search_ns = _next_search(time.monotonic_ns())
        while (left_ns := end_ns - time.monotonic_ns()) > 0:
            self._samples.take(self._pids)
            if (now_ns := time.monotonic_ns()) >= search_ns:
                self._find_children()
                search_ns = _next_search(now_ns)
            # Not at equal distances: what a process repeats would be in step with them.
            pause_s = _SAMPLE_S * random.uniform(0.5, 1.5)  # noqa: S311
            if poll.poll(min(pause_s * 1000, left_ns / 1e6)):
                return

    def _find_children(self, *, first: bool = False) -> None:
        """Find the processes, and read what they have used; what is new has begun since."""
        if self._children:
            with suppress(psutil.Error):
                found = psutil.Process(self._pid).children(recursive=True)
                self._pids = [self._pid, *(child.pid for child in found)]
        self._read_usage()
        if first:
            self._before = dict(self._after)
            self._queues.begin(self._pids)
        else:
            self._queues.add(self._pids)

    def _read_usage(self) -> None:
        for pid in self._pids:
            usage = read_usage(pid)
            if usage is not None:
                self._after[pid] = usage

    def _calls(self, kernel: KernelProfile) -> tuple[CallCounts, ...]:
        found = []
        for one in kernel.calls():
            name = self._names.get(one.number, f"call {one.number}")
            found.append(
                CallCounts(
                    name,
                    one.kind,
                    category_of(name, one.kind),
                    one.times,
                    one.failures,
                    one.total_ns,
                    one.sleep_ns,
                    one.bytes,
                    one.buckets,
                )
            )
        return tuple(sorted(found, key=lambda one: (-one.times, one.name, one.kind)))

    def _failures(self, kernel: KernelProfile) -> dict[tuple[str, str], int]:
        found = sorted(kernel.failures().items(), key=lambda item: -item[1])
        return {
            (self._names.get(number, f"call {number}"), _errno_name(error)): count
            for (number, error), count in found
        }


def _next_search(begin_ns: int) -> int:
    """Return when the next search begins: one of many threads takes a small part of the time."""
    now_ns = time.monotonic_ns()
    return now_ns + max(round(_SEARCH_S * 1e9), (now_ns - begin_ns) * _SEARCH_PAUSE)


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))
