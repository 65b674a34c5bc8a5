"""Whether a probe is healthy: by what is wrong now, not by what once was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.status import STATUS

from xctl_probe.commands.status.health import places, reasons


def of(*, interval_ms=1_000, lost_ago_ms=None, uptime_ms=99_000, **intervals):
    """Why it is unhealthy, with these intervals."""
    dropped_ago_ms = intervals.pop("dropped_ago_ms", None)
    known = {"late_ago_ms": None, "last_ago_ms": 307} | intervals
    status = replace(
        STATUS,
        uptime_ms=uptime_ms,
        lost_ago_ms=lost_ago_ms,
        intervals=replace(STATUS.intervals, interval_ms=interval_ms, **known),
        records=replace(STATUS.records, dropped_ago_ms=dropped_ago_ms),
    )
    return list(reasons(status))


def test_what_happened_long_ago_is_healthy():
    """A minute, with intervals of a second."""
    assert list(reasons(STATUS)) == []


@pytest.mark.parametrize(
    ("interval_ms", "last_ago_ms", "expected"),
    [
        (1_000, 3_000, []),
        (1_000, 3_001, ["no interval for 3.0 s, and one is due every 1.0 s"]),
        (10, 3_000, []),
        (60_000, 180_000, []),
        (60_000, 180_007, ["no interval for 3 min 0 s, and one is due every 60.0 s"]),
    ],
)
def test_three_intervals_and_three_seconds_without_one_are_too_long(
    interval_ms, last_ago_ms, expected
):
    assert of(interval_ms=interval_ms, last_ago_ms=last_ago_ms) == expected


def test_before_the_first_interval_the_time_since_the_start_counts():
    assert of(last_ago_ms=None, uptime_ms=2_999) == []
    (reason,) = of(last_ago_ms=None, uptime_ms=4_211)
    assert reason == "no interval for 4.2 s, and one is due every 1.0 s"


def test_an_interval_that_began_late():
    assert of(late_ago_ms=3_001) == []
    (reason,) = of(late_ago_ms=1_307)
    assert reason == "an interval began late 1.3 s ago: 3 of 7949 did, by at most 2.3 s"


def test_dropped_events_are_named_by_place():
    assert of(lost_ago_ms=3_001) == []
    (reason,) = of(lost_ago_ms=2_099)
    assert reason == "events were dropped 2.1 s ago: waits 1,013, ring 3"


def test_a_reader_that_is_too_slow():
    assert of(dropped_ago_ms=3_001) == []
    (reason,) = of(dropped_ago_ms=0)
    assert reason == (
        "records were dropped 0.00 s ago, because the reader of stdout is slow: 29 since the start"
    )


def test_several_reasons_are_all_named():
    assert len(of(last_ago_ms=9_001, late_ago_ms=1, lost_ago_ms=1, dropped_ago_ms=1)) == 4


def test_the_places_are_a_bounded_number():
    """A probe of another user may name any."""
    status = replace(STATUS, lost={f"place{number}": number for number in range(1, 24)})
    assert (
        places(status)
        == "place23 23, place22 22, place21 21, place20 20, place19 19, 18 more places"
    )


def test_the_name_of_a_place_is_bounded():
    assert places(replace(STATUS, lost={"x" * 4_099: 7})) == f"{'x' * 40} 7"
