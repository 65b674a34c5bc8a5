"""Each event of an iteration is in one of three heaps, and comes out as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.ebpf.abi import RECORD, Evidence, Kind, RawEvent, StallDirection
from xctl_probe.ebpf.sorting import late_cookies, records_at, sort

EMPTY = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)
RECORDS = st.lists(
    st.builds(
        EMPTY._replace,
        kind=st.sampled_from([0, *Kind, 97]),
        occurrences=st.sampled_from([0, 0, 3]),
        pid=st.sampled_from([0, 11, 23]),
        uid=st.sampled_from([0, 97]),
        comm=st.sampled_from([b"one".ljust(16, b"\0"), b"two".ljust(16, b"\0")]),
    ),
    max_size=30,
)


@given(records=RECORDS, tail=st.binary(max_size=RECORD.size - 1))
def test_waits_data_and_all_others_make_the_whole(records, tail):
    chunk = b"".join(RECORD.pack(*record) for record in records) + tail
    waits, received, others = sort(chunk)
    assert list(records_at(chunk, received)) == [r for r in records if r.kind == Kind.RECEIVED]
    others_of = [r for r in records if r.kind not in {Kind.RECEIVED, Kind.ONGOING}]
    assert list(records_at(chunk, others)) == others_of
    assert {
        (uid, pid): list(records_at(chunk, numbers))
        for uid, of in waits.items()
        for pid, numbers in of.items()
    } == {
        (uid, pid): [r for r in records if (r.kind, r.uid, r.pid) == (Kind.ONGOING, uid, pid)]
        for uid, pid in {(r.uid, r.pid) for r in records if r.kind == Kind.ONGOING}
    }


@pytest.mark.parametrize(
    ("wait", "is_late"),
    [
        ({}, True),
        ({"span_ns": 999}, False),
        ({"kind": Kind.RECEIVED}, False),
        ({"direction": StallDirection.SEND}, False),
        ({"evidence": Evidence.OPENED | Evidence.BLOCKED}, True),
        ({"evidence": Evidence.OPENED | Evidence.FLOW}, False),
        ({"evidence": Evidence.KEEPALIVE}, False),
    ],
)
def test_late_waits_are_found_without_decoding_each(wait, is_late):
    first = EMPTY._replace(kind=Kind.ONGOING, direction=StallDirection.RECEIVE, span_ns=1_000)
    records = first._replace(cookie=7), first._replace(pid=23, cookie=11)._replace(**wait)
    chunk = b"".join(RECORD.pack(*record) for record in records)
    assert late_cookies(chunk, sort(chunk), 1_000) == ({7, 11} if is_late else {7})
