"""Waits: the records of a stall add up to its length."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.records import NOW_MS, OTHER, STALL

from xctl_probe.events import PeerActivity
from xctl_probe.exporters.records import StallRecord
from xctl_probe.prometheus import waits as module
from xctl_probe.prometheus.waits import Waits

MS = 1_000_000


def record(ts_ms, duration_ms, *, ongoing=True, **changes):
    stall = replace(STALL, duration_ns=duration_ms * MS, ongoing=ongoing, **changes)
    return StallRecord(NOW_MS + ts_ms, stall)


def put(waits, one, step_ms=0):
    """Add a record; the wall clock was set forward by `step_ms` before."""
    return waits.added(one, (one.ts_ms - step_ms) * MS)


def added(*records):
    waits = Waits()
    return [put(waits, one)[1] // MS for one in records]


def test_each_record_adds_what_is_new():
    found = added(record(0, 1_009), record(1_000, 2_009), record(1_500, 2_311, ongoing=False))
    assert found == [1_009, 1_000, 302]


def test_a_stall_without_an_ongoing_record_counts_whole():
    short = (record(0, 137, ongoing=False), record(1_000, 139, ongoing=False))
    assert added(*short) == [137, 139]


def test_a_later_stall_of_the_socket_is_another_one():
    """Also where the last record of the former one was one of too many."""
    assert added(record(0, 3_001), record(5_000, 1_009)) == [3_001, 1_009]
    assert added(record(0, 3_001), record(5_000, 1_009, ongoing=False)) == [3_001, 1_009]


def test_a_length_that_shrinks_takes_nothing_back():
    """The sampler knows the begin better with the next sample."""
    found = added(record(0, 1_009), record(500, 1_003), record(1_000, 2_003, ongoing=False))
    assert found == [1_009, 0, 994]


def test_a_wait_whose_process_is_found_later_counts_once():
    first = record(0, 1_009, owner=None)
    assert added(first, record(1_000, 2_009)) == [1_009, 1_000]
    assert added(first, record(1_000, 2_009), record(2_000, 3_009, owner=None)) == [
        1_009, 1_000, 1_000,
    ]  # fmt: skip
    assert added(first, record(1_000, 2_009), record(2_000, 3_009, owner=OTHER)) == [
        1_009, 1_000, 3_009,
    ]  # fmt: skip


def test_a_step_of_the_clock_begins_no_other_stall():
    waits, hour_ms = Waits(), 3_600_000
    first = put(waits, record(0, 1_009))[1]
    later = put(waits, record(hour_ms + 1_000, 2_009), hour_ms)[1]
    waits.expire(NOW_MS + hour_ms + 1_000)
    last = put(waits, record(hour_ms + 1_500, 2_509, ongoing=False), hour_ms)[1]
    assert [first, later, last] == [1_009 * MS, 1_000 * MS, 500 * MS]


def test_the_last_record_keeps_what_was_seen_of_the_peer():
    waits = Waits()
    peer = {"peer": OTHER, "peer_activity": PeerActivity.RUNNING}
    first, _ = put(waits, record(0, 1_009, **peer))
    last, _ = put(waits, record(1_000, 1_709, ongoing=False))
    assert first == last == ("eth0", "receive", "no_reply", "other", "running", "")
    unknown, _ = put(waits, record(2_000, 139, ongoing=False))
    assert (unknown.peer_comm, unknown.peer_state) == ("", "")


def test_a_wait_that_is_only_likely_is_marked():
    """It may be an expected one: alerts leave it out."""
    wait, _ = put(Waits(), record(0, 1_009, probable=True))
    assert wait.probable == "true"


def test_a_stall_without_a_record_for_a_minute_is_forgotten():
    waits = Waits()
    put(waits, record(0, 1_009))
    waits.expire(NOW_MS + 59_999)
    assert put(waits, record(60_000, 1_010, ongoing=False))[1] == 1 * MS
    put(waits, record(0, 1_009))
    waits.expire(NOW_MS + 60_000)
    assert put(waits, record(60_000, 1_010, ongoing=False))[1] == 1_010 * MS


def test_memory_is_bounded():
    waits = Waits()
    for inode in range(module._MOST_OPEN + 7):
        put(waits, record(0, 1, socket=replace(STALL.socket, inode=inode)))
    assert len(waits._open) == module._MOST_OPEN


@given(
    st.lists(
        st.lists(st.integers(1, 5_000), min_size=1, max_size=5).map(sorted), min_size=1, max_size=5
    )
)
def test_the_sum_is_that_of_the_lengths(stalls):
    """One stall after the other on one socket, each with any number of ongoing records."""
    waits, begun_ms, sum_ns = Waits(), 0, 0
    for lengths in stalls:
        for number, length_ms in enumerate(lengths):
            ongoing = number < len(lengths) - 1
            one = record(begun_ms + length_ms, length_ms, ongoing=ongoing)
            sum_ns += put(waits, one)[1]
        begun_ms += lengths[-1]
    assert sum_ns == sum(lengths[-1] for lengths in stalls) * MS
