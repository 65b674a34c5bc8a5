"""Activity of processes, read by a helper, so that no process can block the probe."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import Budget, scaled
from xctl_probe.linux.helper import Asks, Helper, Late
from xctl_probe.linux.process_activity import (
    Activity,
    OwnActivity,
    Processes,
    SchedCounters,
    Work,
)
from xctl_probe.linux.procfs import real_user
from xctl_probe.linux.socket_waits import NotRead, SocketWaits, What, socket_waits
from xctl_probe.linux.turns import Turns

# For all answers of one sample; the longest with a larger budget.
_WAIT_NS, _LONGEST_WAIT_NS = 50_000_000, 400_000_000
# Samples, and time, without a helper that could be asked after which the activity is unknown.
_ASKED_AGAIN, _ASKED_AGAIN_NS = 5, 2_000_000_000
# An answer that was late: about a wait that had begun before, and where the wait is not known.
_OLDEST_NS, _RECENT_NS = 1_000_000_000, 300_000_000
_MOST_UNANSWERED = 4  # requests of one account: it pays when they are answered
_MOST_KEPT = 4_096
_NEVER_SLEPT = SchedCounters(-1, 0, 0)


class _Request(NamedTuple):
    sample: int
    pid: int
    inode: int
    uid: int


class _OwnRequest(NamedTuple):
    """For the activity of the process that may wait on the socket."""

    sample: int
    pid: int
    inode: int
    uid: int


class _WaitsRequest(NamedTuple):
    """For what the process itself waits, on any of its sockets."""

    sample: int
    pid: int
    what: What
    uid: int


class _WorkRequest(NamedTuple):
    """For the CPU time of the threads of a process whose event loop is idle."""

    sample: int
    pid: int
    uid: int


_AnyRequest = _Request | _OwnRequest | _WaitsRequest | _WorkRequest
_ACCOUNTS = {
    _Request: "about", _WorkRequest: "about", _OwnRequest: "own", _WaitsRequest: "waits",
}  # fmt: skip
_Key = tuple[type, _AnyRequest]
_Account = tuple[str, int]  # of the budget: what is read, and of which user


class _Answer(NamedTuple):
    activity: Activity
    counters: SchedCounters | None
    spent_ns: int


class _OwnAnswer(NamedTuple):
    own: OwnActivity
    spent_ns: int


class _WaitsAnswer(NamedTuple):
    waits: SocketWaits
    spent_ns: int


class _WorkAnswer(NamedTuple):
    work: Work
    spent_ns: int


class _Reader:
    """Serves requests in the helper; results are cached for one sample."""

    def __init__(self) -> None:
        self._processes = Processes()
        self._sample = 0

    def __call__(self, request: _AnyRequest) -> _Answer | _OwnAnswer | _WaitsAnswer | _WorkAnswer:
        begun_ns = time.process_time_ns()
        if isinstance(request, _WaitsRequest):
            waits = socket_waits(request.pid, request.what)
            return _WaitsAnswer(waits, time.process_time_ns() - begun_ns)
        if request.sample != self._sample:
            self._sample = request.sample
            self._processes.begin()
        if isinstance(request, _WorkRequest):
            work = self._processes.work(request.pid)
            return _WorkAnswer(work, time.process_time_ns() - begun_ns)
        if isinstance(request, _OwnRequest):
            own = self._processes.own_activity(request.pid, request.inode)
            return _OwnAnswer(own, time.process_time_ns() - begun_ns)
        activity = self._processes.activity(request.pid, request.inode)
        in_event_loop = activity is Activity.EVENT_LOOP_BUSY
        counters = self._processes.sched_counters(request.pid) if in_event_loop else None
        return _Answer(activity, counters, time.process_time_ns() - begun_ns)


class ProcessesAside:
    """As `Processes`, with answers that may be late (`LATER`) or missing (`UNKNOWN`)."""

    def __init__(
        self,
        budget: Budget | None = None,
        helper: Asks | None = None,
        barred: Barred | None = None,
    ) -> None:
        self._budget = budget or Budget()
        self._helper = helper or Helper(_Reader(), self._bar)
        self._barred = barred or Barred()
        self._sample = 1
        self._most_wait_ns = scaled(_WAIT_NS, self._budget.share, _LONGEST_WAIT_NS)
        self._wait_ns = self._most_wait_ns
        self._turns = Turns()
        self._stops = Processes()
        self._counters: dict[int, SchedCounters] = {}
        self._users: dict[int, int] = {}
        # number of samples without an answer, and when the first was (monotonic)
        self._missed: dict[_Key, tuple[int, int]] = {}
        self._came: dict[_Key, Late] = {}  # answers that were late
        self._begun_ns = self._begun_before_ns = 0  # this sample and the last one (monotonic)
        self._waits: dict[tuple[int, What], SocketWaits | None] = {}  # read in this sample
        self.spent_ns = 0  # processor time that the helper took in all

    def begin(self) -> None:
        """Start a sample: clear the cache."""
        self._sample += 1
        self._wait_ns = self._most_wait_ns
        self._turns.begin()
        self._stops.begin()
        self._counters.clear()
        self._users.clear()
        self._waits.clear()
        now_ns = time.monotonic_ns()
        self._begun_before_ns, self._begun_ns = self._begun_ns, now_ns
        self._take_late(now_ns)
        oldest_ns = min(now_ns - _OLDEST_NS, self._begun_before_ns)
        self._came = {key: came for key, came in self._came.items() if came.read_ns >= oldest_ns}

    def close(self) -> None:
        """Stop the helper.  Safe to call twice."""
        self._helper.close()

    def stopped(self, pid: int) -> bool:
        """True while a signal or a debugger stops the process.  A read of stat never blocks."""
        return self._stops.stopped(pid)

    def sched_counters(self, pid: int) -> SchedCounters:
        """Return its scheduler counters, as read when its event loop was busy."""
        return self._counters.get(pid, _NEVER_SLEPT)

    def activity(self, pid: int, inode: int, since_ns: int = 0) -> Activity:
        """What `pid` does for the socket `inode`, which it holds and has read empty.

        An answer that was late is one of after `since_ns` (monotonic), when the wait began.
        """
        uid = self._user(pid)
        if self._barred.covers(pid, uid):
            return Activity.UNKNOWN
        request = _Request(self._sample, pid, inode, uid)
        answer = self._ask(request, since_ns)
        if answer is None:
            return self._without_answer(request)
        if answer.counters is not None:
            self._counters[pid] = answer.counters
        activity: Activity = answer.activity
        return activity

    def own_activity(self, pid: int, inode: int, since_ns: int = 0) -> OwnActivity:
        """What `pid` does, which may wait on the socket `inode`; `since_ns` as in `activity`."""
        uid = self._user(pid)
        if self._barred.covers(pid, uid):
            return OwnActivity(Activity.UNKNOWN)
        request = _OwnRequest(self._sample, pid, inode, uid)
        answer = self._ask(request, since_ns)
        if answer is None:
            return OwnActivity(self._without_answer(request))
        own: OwnActivity = answer.own
        return own

    def work(self, pid: int) -> Work | None:
        """As `Processes.work`; None where it was not read."""
        uid = self._user(pid)
        if self._barred.covers(pid, uid):
            return None
        answer = self._ask(_WorkRequest(self._sample, pid, uid))
        return answer.work if answer is not None else None

    def waits(self, pid: int, what: What) -> SocketWaits:
        """What `pid` waits for on its sockets; one reading serves a sample.

        Nothing where it cannot be read.  Raises NotRead where that is so for the moment.
        """
        if (pid, what) not in self._waits:
            self._waits[pid, what] = self._read_waits(pid, what)
        waits = self._waits[pid, what]
        if waits is None:
            raise NotRead
        return waits

    def _read_waits(self, pid: int, what: What) -> SocketWaits | None:
        uid = self._user(pid)
        if self._barred.covers(pid, uid):
            return SocketWaits()
        request = _WaitsRequest(self._sample, pid, what, uid)
        answer = self._ask(request)
        if answer is None:
            later = self._without_answer(request) is Activity.LATER
            return None if later else SocketWaits()
        waits: SocketWaits = answer.waits
        return waits

    def _user(self, pid: int) -> int:
        uid = self._users.get(pid)
        if uid is None:
            uid = self._users[pid] = real_user(pid, Path("/proc"))
        return uid

    def _ask(self, request: _AnyRequest, since_ns: int = 0) -> Any | None:
        now_ns = time.monotonic_ns()
        self._take_late(now_ns)
        answer = self._late(_key(request), since_ns, now_ns)
        if answer is not None or not self._is_turn_of(request, now_ns):
            return answer
        answer = self._helper.ask(request, max(self._wait_ns, 0))
        ended_ns = time.monotonic_ns()
        self._wait_ns -= ended_ns - now_ns
        if answer is not None:
            self._note(request, answer, ended_ns)
        return answer

    def _note(self, request: _AnyRequest, answer: Any, now_ns: int) -> None:
        self._missed.pop(_key(request), None)
        self.spent_ns += answer.spent_ns
        self._budget.charge(_account(request), answer.spent_ns, now_ns)

    def _is_turn_of(self, request: _AnyRequest, now_ns: int) -> bool:
        """True where the request may be sent.  On a loaded host it may be answered later."""
        account, unanswered = _account(request), self._helper.unanswered
        if self._is_asked(request):
            return False
        of_account = sum(_account(sent.request) == account for sent in unanswered)
        if self._helper.is_full or of_account >= _MOST_UNANSWERED:
            self._turns.refuse(account, request.pid)
            return False
        allowed = self._budget.allows(account, now_ns)
        return self._turns.take(account, request.pid, allowed=allowed)

    def _take_late(self, now_ns: int) -> None:
        self._helper.collect()
        for late in self._helper.late:
            if late.answer is not None:
                self._note(late.sent.request, late.answer, now_ns)
                self._came[_key(late.sent.request)] = late
        self._helper.late.clear()

    def _late(self, key: _Key, since_ns: int, now_ns: int) -> Any | None:
        """Return an answer that was late: on a loaded host all may be.

        One that was read before the wait would show a peer that is idle, as it was then.  Where the
        wait is not known, it is one that was read since the last sample, or a moment ago: a reading
        may take longer than from one sample to the next.
        """
        came = self._came.pop(key, None)
        if since_ns:
            oldest_ns = max(since_ns, now_ns - _OLDEST_NS)
        else:
            oldest_ns = min(self._begun_before_ns, now_ns - _RECENT_NS)
        return came.answer if came is not None and came.read_ns >= oldest_ns else None

    def _without_answer(self, request: _AnyRequest) -> Activity:
        # Who has not had its turn, or is not answered yet, may be read: that is no reason to take
        # it for unreadable.  A helper that hangs is abandoned, and the process barred.
        awaits = self._turns.awaits(_account(request), request.pid) or self._is_asked(request)
        later = awaits or self._is_missing(request)
        return Activity.LATER if later else Activity.UNKNOWN

    def _is_asked(self, request: _AnyRequest) -> bool:
        key = _key(request)
        return any(_key(sent.request) == key for sent in self._helper.unanswered)

    def _is_missing(self, request: _AnyRequest) -> bool:
        """Note one more sample without an answer; False once there were enough."""
        if len(self._missed) >= _MOST_KEPT:
            self._missed.clear()
        key, now_ns = _key(request), time.monotonic_ns()
        missed, first_ns = self._missed.get(key, (0, now_ns))
        self._missed[key] = missed + 1, first_ns
        return missed < _ASKED_AGAIN or now_ns - first_ns < _ASKED_AGAIN_NS

    def _bar(self, request: _AnyRequest) -> None:
        """Ask no more about who has held a helper up."""
        self._barred.add(request.pid, request.uid)


def _account(request: _AnyRequest) -> _Account:
    return _ACCOUNTS[type(request)], request.uid


def _key(request: _AnyRequest) -> _Key:
    """Return what distinguishes requests of all samples: tuples of two types may be equal."""
    return type(request), request._replace(sample=0)
