"""The intervals of the loop: how many, how late, how long."""

from __future__ import annotations

from xctl_probe.figures import IntervalFigures

_NS_PER_MS = 1_000_000
_LEAST_LATE_NS = 50_000_000  # what another process may take of the CPU


class Intervals:
    """Counts intervals of `interval_ns`.  Times are CLOCK_MONOTONIC in ns."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._late_from_ns = max(interval_ns // 2, _LEAST_LATE_NS)
        self._count = self._late = self._missed = 0
        self._delay_ns = self._latest_ns = self._took_ns = self._longest_ns = 0
        self._last_ns: int | None = None
        self._late_ns: int | None = None

    def note(self, due_ns: int, began_ns: int, ended_ns: int) -> None:
        """Count one interval, which was due at `due_ns`, and its drain."""
        self._count += 1
        self._last_ns = ended_ns
        self._delay_ns = began_ns - due_ns
        self._latest_ns = max(self._latest_ns, self._delay_ns)
        self._took_ns = ended_ns - began_ns
        self._longest_ns = max(self._longest_ns, self._took_ns)
        if self._delay_ns >= self._late_from_ns:
            self._late += 1
            self._late_ns = ended_ns
            self._missed += skipped(self._delay_ns, self._interval_ns)

    def figures(self, now_ns: int) -> IntervalFigures:
        """Return the counts so far."""
        return IntervalFigures(
            interval_ms=self._interval_ns // _NS_PER_MS,
            count=self._count,
            late=self._late,
            missed=self._missed,
            last_delay_ms=self._delay_ns // _NS_PER_MS,
            latest_ms=self._latest_ns // _NS_PER_MS,
            last_took_ms=self._took_ns // _NS_PER_MS,
            longest_ms=self._longest_ns // _NS_PER_MS,
            last_ago_ms=ago_ms(self._last_ns, now_ns),
            late_ago_ms=ago_ms(self._late_ns, now_ns),
        )


def skipped(delay_ns: int, interval_ns: int) -> int:
    """Return how many intervals are left out after one that began `delay_ns` late.

    The next one then has at least half of its length.
    """
    return (delay_ns + interval_ns // 2) // interval_ns


def ago_ms(then_ns: int | None, now_ns: int) -> int | None:
    """Return the ms since a time, None where there is none."""
    return None if then_ns is None else (now_ns - then_ns) // _NS_PER_MS
