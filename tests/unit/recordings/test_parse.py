"""Lines back to records: of our own nothing changes, and no other line does harm."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import RECORDS, STALL

from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import BandwidthRecord, CpuRecord, StallRecord
from xctl_probe.recordings.parse import to_record

# What a line does not have: bandwidth is bytes over a time that it has in ms.
RATES = ("rx_mbps", "tx_mbps")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(RECORDS)
def test_the_line_of_a_record_that_was_read_is_the_same(record):
    """Of any record; bandwidth and CPU up to the part of its time below a millisecond."""
    line = to_line(record)
    found = to_record(line)
    assert type(found) is type(record)
    again, before = orjson.loads(to_line(found)), orjson.loads(line)
    if isinstance(record, BandwidthRecord):
        for one in (again, before):
            del one["value"], one["net"][RATES[0]], one["net"][RATES[1]]
    elif isinstance(record, CpuRecord):
        del again["value"], before["value"]
    assert again == before


def test_a_stall_is_read_back_as_it_was():
    """But for the start time, the cookie and the time below a millisecond."""
    found = to_record(to_line(StallRecord(1_009, STALL)))
    owner = replace(STALL.owner, start_ticks=0)
    socket = replace(STALL.socket, cookie=0)
    expected = replace(STALL, owner=owner, socket=socket, duration_ns=1_301_000_000)
    assert found == StallRecord(1_009, expected)


@given(RECORDS, st.data())
def test_a_line_with_any_other_value_is_a_record_or_none(record, data):
    """A field of another type, or that is missing, stops no reader."""
    line = orjson.loads(to_line(record))
    place = data.draw(st.sampled_from([line, line["net"]]))
    if place:
        field = data.draw(st.sampled_from(sorted(place)))
        place[field] = data.draw(VALUES.filter(_fits))
    to_record(orjson.dumps(line))


def _fits(value):
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@given(st.binary(max_size=200))
def test_bytes_are_no_record(line):
    assert to_record(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b'{"net":{}}',
        b'{"ts":1,"event_type":"gpu.temp","entity_id":"0","job_id":null,"pid":null,"net":{}}',
        b"[" * 100_000,
    ],
)
def test_a_line_of_another_kind_is_none(line):
    assert to_record(line) is None
