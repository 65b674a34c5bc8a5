"""Figures of the probe itself: the frozen values that `status` shows.

Counts are since the start of the probe; times are in the unit of the name.  None stands for what
this kernel or this source does not have.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RingFigures:
    """Use of the ring buffer; `most_used_bytes` is the most that one read has found."""

    size_bytes: int
    used_bytes: int
    most_used_bytes: int


@dataclass(frozen=True, slots=True)
class MapFigures:
    """Use of one map of the kernel programs.

    `entries` None: not countable in a few milliseconds (socket storage), or always all of them
    (arrays).  `memory_bytes` is what the kernel names in fdinfo.
    """

    name: str
    type: str
    max_entries: int | None
    entries: int | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class ProgramFigures:
    """One kernel program.

    `misses`: how often it did not run at its hook.  `runs` and `run_ns` are counted while the
    kernel's run-time statistics are on (sysctl kernel.bpf_stats_enabled), else None.
    """

    name: str
    misses: int
    runs: int | None
    run_ns: int | None


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """Figures of a source.

    `attach`: the attach variant.  `rejected`: better variants, and why they do not work here.
    `features` and the three lists of hooks are what was detected on this kernel.  `counts` has
    further counts by name.
    """

    attach: str | None = None
    rejected: tuple[str, ...] = ()
    features: Mapping[str, bool] = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    ring: RingFigures | None = None
    maps: tuple[MapFigures, ...] = ()
    programs: tuple[ProgramFigures, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


# Reads in pieces of a millisecond at most, so that the loop can measure in between.
Reading = Generator[None, None, SourceFigures]


@dataclass(frozen=True, slots=True)
class IntervalFigures:
    """The intervals of the loop.

    `late`: intervals that began later than half an interval after their time; `missed`: intervals
    that were skipped, because the probe did not run.  `latest_ms` is the largest delay,
    `longest_ms` the longest time that one drain took.
    """

    interval_ms: int
    count: int
    late: int
    missed: int
    last_delay_ms: int
    latest_ms: int
    last_took_ms: int
    longest_ms: int
    last_ago_ms: int | None  # None: before the first
    late_ago_ms: int | None  # None: never late


@dataclass(frozen=True, slots=True)
class RecordFigures:
    """The records for stdout.

    `written`: lines that stdout took.  `merged`: bandwidth records that were added to a waiting
    one.  `dropped`: failures, stalls and bandwidth records for which there was no room.
    """

    written: int
    merged: int
    dropped: int
    queued: int
    queued_bytes: int
    queue_bytes: int
    dropped_ago_ms: int | None
