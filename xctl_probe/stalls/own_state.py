"""Whether a process waits for a reply, as the state of its threads shows.

A process whose last message got no reply may compute, write a checkpoint or sleep instead.  It does
not wait for the network then, however long the connection is silent.
"""

from __future__ import annotations

from dataclasses import dataclass

from xctl_probe.linux.process_activity import Activity, OwnActivity

# CPU per time between two samples from which a process computes: an event loop takes less.
_COMPUTES = 0.5
# One sample may find a thread on its way from one poll to the next.
_SAMPLES_ELSEWHERE = 2


@dataclass(slots=True)
class OwnState:
    """State of the process that waits, from the samples of one wait."""

    elsewhere: int = 0  # consecutive samples that have shown something else
    seen_ns: int | None = None  # time of the last sample
    _seen: OwnActivity | None = None

    @property
    def is_elsewhere(self) -> bool:
        """True when the process does not wait for this reply."""
        return self.elsewhere >= _SAMPLES_ELSEWHERE

    def note(self, seen: OwnActivity, now_ns: int) -> None:
        """Update from one sample; `now_ns` is its time."""
        if seen.activity is Activity.LATER:
            return
        before, before_ns, self.seen_ns = self._seen, self.seen_ns, now_ns
        if seen.activity is Activity.UNKNOWN:
            self.elsewhere = 0  # as if it had not been read
            return
        self._seen = seen
        busy = not seen.blocked and self._is_busy(seen, before, now_ns - (before_ns or 0))
        self.elsewhere = self.elsewhere + 1 if busy else 0

    @staticmethod
    def _is_busy(seen: OwnActivity, before: OwnActivity | None, since_ns: int) -> bool:
        if seen.activity in (Activity.STOPPED, Activity.OTHER):
            return True
        if before is None:
            return seen.sleeps_elsewhere or seen.runs
        computes = seen.ran_ns - before.ran_ns >= _COMPUTES * since_ns
        return computes or (seen.sleeps_elsewhere and before.sleeps_elsewhere)
