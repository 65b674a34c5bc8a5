"""Why a thread of this program is late: an uninterruptible sleep, or no processor."""

from __future__ import annotations

from typing import NamedTuple

from xctl_probe.linux import procfs
from xctl_probe.linux.procfs import SchedStat

_EVERY_NS = 10_000_000  # more often nothing is read


class Delay(NamedTuple):
    """Counted from the first observation on."""

    blocked_ns: int = 0  # in its current uninterruptible sleep
    queued_ns: int = 0  # runnable, without a processor


class ThreadDelay:
    """Observes one thread; `folder` is its folder in /proc.

    A single observation would take a short sleep, as for a lock, for one that lasts.  Where the
    kernel counts nothing (CONFIG_SCHED_INFO), two of them may, and nothing counts as queued.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._observed_ns: int | None = None
        self._queued_before_ns = 0  # at the first observation
        self._seen = ("", SchedStat())
        self._since_ns = 0  # when it was first seen so
        self._delay = Delay()

    def observe(self, now_ns: int) -> Delay:
        """Return what delays it; `now_ns` is CLOCK_MONOTONIC."""
        if self._observed_ns is not None and now_ns - self._observed_ns < _EVERY_NS:
            return self._delay
        state = procfs.state(f"{self._folder}/stat")
        times = procfs.schedstat(f"{self._folder}/schedstat")
        if self._observed_ns is None:
            self._queued_before_ns = times.queued_ns
        self._observed_ns = now_ns
        if (state, times) != self._seen:
            self._seen, self._since_ns = (state, times), now_ns
        still_ns = now_ns - self._since_ns
        # A time in the queue is counted when it is over.
        queued_ns = still_ns if state == "R" and times.ran_ns else 0
        self._delay = Delay(
            blocked_ns=still_ns if state == "D" else 0,
            queued_ns=max(times.queued_ns - self._queued_before_ns, 0) + queued_ns,
        )
        return self._delay
