"""What processes do, read by a helper, so that nobody can hold the probe up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from xctl_probe.linux.budget import Budget
from xctl_probe.linux.helper import Helper
from xctl_probe.linux.process_activity import Activity, Processes, SchedCounters
from xctl_probe.linux.socket_owners import real_user

_WAIT_NS = 50_000_000  # for all answers of one look
_ASKED_AGAIN = 5  # looks in which there may be no answer before it is taken for unknown
_BARRED_NS = 60_000_000_000  # who has held a helper up, doubled with each time
_MOST_KEPT = 4_096
_NEVER_SLEPT = SchedCounters(-1, 0, 0)


class _Request(NamedTuple):
    sample: int
    pid: int
    inode: int
    uid: int


class _Answer(NamedTuple):
    activity: Activity
    counters: SchedCounters | None
    spent_ns: int


class _Reader:
    """In the helper: one reading of a process serves one look."""

    def __init__(self) -> None:
        self._processes = Processes()
        self._sample = 0

    def __call__(self, request: _Request) -> _Answer:
        if request.sample != self._sample:
            self._sample = request.sample
            self._processes.begin()
        begun_ns = time.process_time_ns()
        activity = self._processes.activity(request.pid, request.inode)
        in_event_loop = activity is Activity.EVENT_LOOP_BUSY
        counters = self._processes.sched_counters(request.pid) if in_event_loop else None
        return _Answer(activity, counters, time.process_time_ns() - begun_ns)


class ProcessesAside:
    """As `Processes`, with answers that may be late (`LATER`) or never come (`UNKNOWN`)."""

    def __init__(self, budget: Budget | None = None, helper: Helper | None = None) -> None:
        self._budget = budget or Budget()
        self._helper = helper or Helper(_Reader(), self._bar)
        self._sample = 1
        self._wait_ns = _WAIT_NS
        self._counters: dict[int, SchedCounters] = {}
        self._users: dict[int, int] = {}
        self._missed: dict[tuple[int, int], int] = {}
        self._barred: dict[tuple[str, int], tuple[int, int]] = {}  # until when, and how often

    def begin(self) -> None:
        """Forget what the last look has read."""
        self._sample += 1
        self._wait_ns = _WAIT_NS
        self._counters.clear()
        self._users.clear()

    def close(self) -> None:
        """Let the helper go.  Safe to call twice."""
        self._helper.close()

    def stopped(self, pid: int) -> bool:
        """True while a signal or a debugger holds it; proc(5): stat, which never blocks."""
        return Processes().stopped(pid)

    def sched_counters(self, pid: int) -> SchedCounters:
        """How far its threads had come, when it was found that it may come back."""
        return self._counters.get(pid, _NEVER_SLEPT)

    def activity(self, pid: int, inode: int) -> Activity:
        """What `pid` does for the socket `inode`, which it holds and has read empty."""
        uid = self._users.get(pid)
        if uid is None:
            uid = self._users[pid] = real_user(pid, Path("/proc"))
        now_ns = time.monotonic_ns()
        if self._is_barred(pid, uid, now_ns):
            return Activity.UNKNOWN
        answer: _Answer | None = None
        if self._wait_ns > 0 and self._budget.allows(("about", uid), now_ns):
            answer = self._helper.ask(_Request(self._sample, pid, inode, uid), self._wait_ns)
            ended_ns = time.monotonic_ns()
            self._wait_ns -= ended_ns - now_ns
            answer = answer or self._late(pid, inode)
        if answer is None:
            return self._missing(pid, inode)
        self._budget.charge(("about", uid), answer.spent_ns, ended_ns)
        self._missed.pop((pid, inode), None)
        if answer.counters is not None:
            self._counters[pid] = answer.counters
        return answer.activity

    def _late(self, pid: int, inode: int) -> _Answer | None:
        """What came too late for the look before: on a crowded host that is how all of it comes."""
        if self._helper.late is None or not self._helper.late[1]:
            return None
        request: _Request = self._helper.late[0]
        answer: _Answer = self._helper.late[1]
        if request.sample < self._sample - 1 or (request.pid, request.inode) != (pid, inode):
            return None
        self._helper.late = None
        return answer

    def _missing(self, pid: int, inode: int) -> Activity:
        if len(self._missed) >= _MOST_KEPT:
            self._missed.clear()
        missed = self._missed[pid, inode] = self._missed.get((pid, inode), 0) + 1
        return Activity.LATER if missed <= _ASKED_AGAIN else Activity.UNKNOWN

    def _bar(self, request: _Request) -> None:
        """Ask no more about who has held a helper up; of root's processes only that one."""
        key = ("uid", request.uid) if request.uid > 0 else ("pid", request.pid)
        _, times = self._barred.get(key, (0, 0))
        if len(self._barred) >= _MOST_KEPT:
            self._barred.clear()
        self._barred[key] = time.monotonic_ns() + (_BARRED_NS << min(times, 10)), times + 1

    def _is_barred(self, pid: int, uid: int, now_ns: int) -> bool:
        keys = (("uid", uid), ("pid", pid))
        return any(now_ns < self._barred.get(key, (0, 0))[0] for key in keys)
