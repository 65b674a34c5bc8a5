"""Whether a process waits for a reply, as the state of its threads shows.

A process whose last message got no reply may compute, write a checkpoint or sleep instead.  It does
not wait for the network then, however long the connection is silent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xctl_probe.linux.process_activity import Activity, OwnActivity, RunTime

# CPU per time between two samples from which a process computes: an event loop takes less.  So
# does one of which a thread runs at both samples and has not slept, on a busy host, or takes that
# part of the time in which it does not wait for a CPU.
_COMPUTES = 0.5
# Who polls without sleeping (MPI) runs at least this part of the time, also on a busy host, and
# spends this part of it in system calls: who computes spends a twentieth.  They are counted in
# ticks: since the first sample.
_POLLS_OFTEN, _POLLS = 0.1, 0.25
_TICK_NS = 10_000_000  # at least that of the scheduler
_DEVIATIONS = 2  # of a share that is counted in ticks
# One sample may find a thread on its way from one poll to the next.
_SAMPLES_ELSEWHERE = 2


@dataclass(slots=True)
class OwnState:
    """State of the process that waits, from the samples of one wait."""

    elsewhere: int = 0  # consecutive samples that have shown something else
    seen_ns: int | None = None  # time of the last sample
    late: bool = False  # the answer was not there in time: the next sample may have it
    _seen: OwnActivity | None = None
    _read_ns: int = 0  # when that was read
    _first: tuple[OwnActivity, int] | None = None
    _polled: bool = False

    @property
    def is_undecided(self) -> bool:
        """True when one sample has shown something else, or none has been read yet and may be."""
        return bool(self.elsewhere) or (self.late and self._seen is None)

    @property
    def is_elsewhere(self) -> bool:
        """True when the process does not wait for this reply."""
        return self.elsewhere >= _SAMPLES_ELSEWHERE

    def note(self, seen: OwnActivity, now_ns: int, *, may_poll: bool = False) -> None:
        """Update from one sample; `now_ns` is its time.

        `may_poll`: a process that runs, and makes many system calls, may poll the socket.  Where a
        process was read before and now is not, what was seen last stands.
        """
        self.late = seen.activity is Activity.LATER
        if self.late:
            return
        before, self.seen_ns = self._seen, now_ns
        if seen.activity in (Activity.UNDECIDED, Activity.UNKNOWN):
            if not self.is_elsewhere:
                self.elsewhere = 0  # undecided: the connection decides
            return
        # A late answer was read before this sample: its times go with that of the reading.
        read_ns = seen.read_ns or now_ns
        since_ns, self._read_ns = read_ns - self._read_ns, read_ns
        self._seen = seen
        self._first = self._first or (seen, read_ns)
        polls = self._polls(seen, read_ns, *self._first) if may_poll else False
        busy = not (seen.blocked or polls) and self._is_busy(seen, before, since_ns)
        if not busy:
            self.elsewhere = 0
        else:
            self.elsewhere = 1 if polls is None else self.elsewhere + 1

    def _polls(
        self, seen: OwnActivity, now_ns: int, first: OwnActivity, first_ns: int
    ) -> bool | None:
        """Whether it polls without sleeping; None where it ran for too few ticks to decide."""
        if seen.activity is Activity.STOPPED:
            return False
        ran_ns, system_ns = seen.ran_ns - first.ran_ns, seen.system_ns - first.system_ns
        queued_ns = max((ran.queued_ns for ran in _run_times(seen, first)), default=0)
        if ran_ns < _POLLS_OFTEN * (now_ns - first_ns - queued_ns):
            self._polled = False
            return False
        least_ns = _POLLS * ran_ns
        error_ns = _DEVIATIONS * math.sqrt(_POLLS * (1 - _POLLS) * ran_ns * _TICK_NS)
        if system_ns < least_ns - error_ns:
            self._polled = False
            return False
        # Who was seen to poll still does, within the error.
        self._polled = self._polled or (now_ns > first_ns and system_ns > least_ns + error_ns)
        return self._polled or None

    @staticmethod
    def _is_busy(seen: OwnActivity, before: OwnActivity | None, since_ns: int) -> bool:
        if seen.activity in (Activity.STOPPED, Activity.OTHER):
            return True
        if before is None:
            return seen.sleeps_elsewhere or seen.runs
        computes = seen.ran_ns - before.ran_ns >= _COMPUTES * since_ns or any(
            not ran.sleeps or ran.ran_ns >= _COMPUTES * (since_ns - ran.queued_ns)
            for ran in _run_times(seen, before)
        )
        return computes or (seen.sleeps_elsewhere and before.sleeps_elsewhere)


def _run_times(now: OwnActivity, before: OwnActivity) -> list[RunTime]:
    """Return what the threads that run at both readings did in between."""
    earlier = {one.tid: one for one in before.running}
    return [
        RunTime(
            one.tid,
            one.ran_ns - earlier[one.tid].ran_ns,
            one.queued_ns - earlier[one.tid].queued_ns,
            one.sleeps - earlier[one.tid].sleeps,
        )
        for one in now.running
        if one.tid in earlier
    ]
