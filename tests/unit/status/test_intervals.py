"""Intervals: exact counts of what was late, missed and long."""

from __future__ import annotations

import pytest

from xctl_probe.figures import IntervalFigures
from xctl_probe.pipeline import next_due
from xctl_probe.status.intervals import Intervals

MS_NS = 1_000_000
SECOND_NS = 1_000 * MS_NS


def test_before_the_first_there_is_no_last():
    assert Intervals(SECOND_NS).figures(7) == IntervalFigures(1000, 0, 0, 0, 0, 0, 0, 0, None, None)


def test_delays_and_durations_are_the_last_and_the_largest():
    """In time: below half an interval."""
    made = Intervals(SECOND_NS)
    made.note(1_000 * MS_NS, 1_499 * MS_NS, 1_506 * MS_NS)
    made.note(2_000 * MS_NS, 2_003 * MS_NS, 2_026 * MS_NS)
    found = made.figures(2_049 * MS_NS)
    assert found == IntervalFigures(1000, 2, 0, 0, 3, 499, 23, 23, 23, None)


def test_an_interval_that_begins_half_an_interval_late_is_late():
    """Those in which the probe did not run are missed."""
    made = Intervals(SECOND_NS)
    made.note(1_000 * MS_NS, 1_500 * MS_NS, 1_507 * MS_NS)
    made.note(2_000 * MS_NS, 4_900 * MS_NS, 4_911 * MS_NS)
    found = made.figures(5_000 * MS_NS)
    assert (found.count, found.late, found.missed) == (2, 2, 4)
    assert (found.latest_ms, found.last_delay_ms, found.late_ago_ms) == (2_900, 2_900, 89)


@pytest.mark.parametrize(("delay_ms", "missed"), [(600, 1), (1_400, 1), (1_600, 2), (2_500, 3)])
def test_what_the_loop_leaves_out_is_missed(delay_ms, missed):
    """A delay of half an interval or more makes the next one too short."""
    made = Intervals(SECOND_NS)
    began_ns = SECOND_NS + delay_ms * MS_NS
    made.note(SECOND_NS, began_ns, began_ns + 7)
    assert made.figures(began_ns + 7).missed == missed
    assert next_due(SECOND_NS, began_ns, SECOND_NS) == (2 + missed) * SECOND_NS


def test_of_short_intervals_a_moment_is_not_late():
    """50 ms are what another process may take of the CPU."""
    made = Intervals(10 * MS_NS)
    made.note(0, 49 * MS_NS, 50 * MS_NS)
    assert (made.figures(60 * MS_NS).late, made.figures(60 * MS_NS).missed) == (0, 0)
    made.note(0, 50 * MS_NS, 51 * MS_NS)
    assert (made.figures(60 * MS_NS).late, made.figures(60 * MS_NS).missed) == (1, 5)
