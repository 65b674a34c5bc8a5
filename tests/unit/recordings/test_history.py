"""Records of several intervals to stalls with a begin and an end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from support.records import CLIENT, NOW_MS, OTHER, STALL

from xctl_probe.commands.recorded import Window, notes
from xctl_probe.events import DroppedEvents, PeerActivity
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import BandwidthRecord, ErrorRecord, StallRecord
from xctl_probe.recordings.history import Coverage, Stalls
from xctl_probe.recordings.reader import Interval


def record(at_ms, ms, ongoing=True, **changes):
    stall = replace(STALL, duration_ns=ms * 1_000_000, ongoing=ongoing, **changes)
    return StallRecord(NOW_MS + at_ms, stall)


def joined(*records):
    """Begin, length and whether it is over, of each stall."""
    stalls = Stalls()
    for one in records:
        stalls.add([one])
    return [
        (one.begun_ms - NOW_MS, one.stall.duration_ns // 1_000_000, not one.stall.ongoing)
        for one in stalls.all()
    ]


def test_the_records_of_a_stall_are_one():
    """It begins where the first of them has it, and lasts what the last one counts."""
    found = joined(record(1_000, 300), record(2_000, 1_301), record(3_000, 1_409, ongoing=False))
    assert found == [(700, 1_409, True)]


def test_a_stall_that_is_ongoing_has_no_end():
    assert joined(record(1_000, 300), record(2_000, 1_300)) == [(700, 1_300, False)]


def test_two_stalls_of_one_socket_are_two():
    """Whether the end of the first is recorded or not."""
    over = [record(1_000, 300), record(2_000, 400, ongoing=False), record(3_000, 200)]
    assert joined(*over) == [(700, 400, True), (2_800, 200, False)]
    unseen = [record(1_000, 300), record(3_000, 200)]
    assert joined(*unseen) == [(700, 300, False), (2_800, 200, False)]
    short = [record(1_000, 300), record(2_000, 150, ongoing=False)]
    assert joined(*short) == [(700, 300, False), (1_850, 150, True)]


def test_a_stall_that_is_over_soon_after_a_record_is_the_same():
    """Its last record comes up to an interval later, so the time of that is not its end."""
    assert joined(record(1_000, 150), record(2_000, 160, ongoing=False)) == [(850, 160, True)]


def test_stalls_of_two_processes_are_not_joined():
    """A socket that changed hands: the begin of each is known, the end of none."""
    found = joined(record(1_000, 300), record(2_000, 1_300, owner=OTHER))
    assert sorted(found) == [(700, 300, False), (700, 1_300, False)]


def test_a_stall_whose_process_is_found_later_is_one():
    first, *rest = record(1_000, 300, owner=None), record(2_000, 1_300), record(3_000, 2_300)
    assert joined(first, *rest) == [(700, 2_300, False)]
    assert joined(first, *rest, record(3_500, 2_700, ongoing=False, owner=None)) == [
        (700, 2_700, True)
    ]


def test_what_only_an_earlier_record_has_of_the_peer_stays():
    """The last record of a stall has no activity."""
    stalls = Stalls()
    stalls.add([record(1_000, 300, peer=OTHER, peer_activity=PeerActivity.STOPPED)])
    stalls.add([record(2_000, 900, ongoing=False, owner=CLIENT)])
    (one,) = stalls.all()
    assert (one.stall.peer, one.stall.peer_activity) == (OTHER, PeerActivity.STOPPED)


def interval(at_ms, length_ms, *more):
    bandwidth = BandwidthRecord(NOW_MS + at_ms, "lo", None, 0, 0, length_ms * 1_000_000, 0)
    return Interval(NOW_MS + at_ms, [to_line(one) for one in (*more, bandwidth)])


def covered(*intervals):
    coverage = Coverage()
    for one in intervals:
        coverage.add(one)
    return coverage


def test_intervals_in_a_row_miss_nothing():
    """Of any length, and with a late one."""
    coverage = covered(interval(5_000, 5_000), interval(10_900, 5_900), interval(15_000, 4_099))
    assert (coverage.begun_ms, coverage.last_ms) == (NOW_MS, NOW_MS + 15_000)
    assert coverage.missing == []


def test_a_time_without_a_probe_is_missing():
    coverage = covered(interval(1_000, 1_000), interval(9_000, 1_000))
    assert coverage.missing == [(NOW_MS + 1_000, NOW_MS + 8_000)]


def test_an_interval_without_interfaces_is_of_unknown_length():
    """As with --interface of one that is gone: nothing is concluded."""
    bare = Interval(NOW_MS + 60_000, [to_line(record(60_000, 300))])
    assert covered(interval(1_000, 1_000), bare).missing == []


def test_dropped_events_are_added_up_by_reason():
    lost = ErrorRecord(NOW_MS, DroppedEvents("recording", 23))
    other = ErrorRecord(NOW_MS, DroppedEvents("ring", 7))
    coverage = covered(interval(1_000, 1_000, lost), interval(2_000, 1_000, lost, other))
    assert coverage.dropped == {"recording": 46, "ring": 7}


def test_of_intervals_without_a_length_no_begin_and_no_stop_is_concluded():
    """Of `--metrics stalls`: an interval without a wait leaves no trace."""
    bare = Interval(NOW_MS + 60_000, [to_line(record(60_000, 300))])
    window = Window(NOW_MS, NOW_MS + 600_000)
    (note,) = notes(SimpleNamespace(damaged=0), covered(bare), window)
    assert note == "intervals without records leave no trace in it: record bandwidth as well"


def test_nothing_covers_nothing():
    coverage = covered()
    assert (coverage.begun_ms, coverage.last_ms, coverage.missing) == (None, None, [])
