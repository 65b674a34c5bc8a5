"""Whether a probe is healthy, by its own figures."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.status.document import Status

_RECENT_INTERVALS = 3
_LEAST_RECENT_MS = 3_000
_MOST_PLACES = 5
_LONGEST_PLACE = 40  # characters: a probe of another user may name any


def reasons(status: Status) -> Iterator[str]:
    """Yield why the probe is unhealthy now: nothing for a healthy one.

    Now is within the last three intervals, and within three seconds at least.
    """
    intervals, records = status.intervals, status.records
    recent_ms = max(_RECENT_INTERVALS * intervals.interval_ms, _LEAST_RECENT_MS)
    silent_ms = status.uptime_ms if intervals.last_ago_ms is None else intervals.last_ago_ms
    if silent_ms > recent_ms:
        every = format_duration(intervals.interval_ms)
        yield f"no interval for {format_duration(silent_ms)}, and one is due every {every}"
    if _is_recent(intervals.late_ago_ms, recent_ms):
        yield (
            f"an interval began late {_ago(intervals.late_ago_ms)}: {intervals.late} of "
            f"{intervals.count} did, by at most {format_duration(intervals.latest_ms)}"
        )
    if _is_recent(status.lost_ago_ms, recent_ms):
        yield f"events were dropped {_ago(status.lost_ago_ms)}: {places(status)}"
    if _is_recent(records.dropped_ago_ms, recent_ms):
        yield (
            f"records were dropped {_ago(records.dropped_ago_ms)}, because the reader of stdout "
            f"is slow: {records.dropped} since the start"
        )


def places(status: Status) -> str:
    """Return the places where events were dropped, with the counts: `ring 3, waits 12`."""
    found = sorted(status.lost.items(), key=lambda item: -item[1])
    rest = len(found) - _MOST_PLACES
    shown = [f"{where[:_LONGEST_PLACE]} {count:,}" for where, count in found[:_MOST_PLACES]]
    return ", ".join([*shown, f"{rest} more places"] if rest > 0 else shown)


def _is_recent(ago_ms: int | None, recent_ms: int) -> bool:
    return ago_ms is not None and ago_ms <= recent_ms


def _ago(ago_ms: int | None) -> str:
    return f"{format_duration(ago_ms or 0)} ago"
