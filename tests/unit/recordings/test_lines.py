"""Lines that matter: found without parsing the others, in the probe's form or another one."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleet import BEGUN_MS, beat, holds, lines, origin, starts, waits
from support.records import RECORDS

from xctl_probe.exporters.ndjson import to_line
from xctl_probe.fleet.rows import rows_of
from xctl_probe.recordings.lines import BROKEN, interval_of, times_of, wait_of, wanted

ALL = lines(origin(0), starts(0), holds(0, [1], 1), waits(0, 1, 2), beat(3))
STALL = lines(origin(0), waits(0, 1, 2))


def found(data):
    problems: Counter[str] = Counter()
    return list(wanted(data.split(b"\n"), problems)), problems


def test_stalls_and_states_are_wanted_and_bandwidth_is_not():
    lines_, problems = found(ALL)
    assert lines_ == ALL.splitlines()[:3]
    assert not problems


@given(RECORDS)
def test_every_record_is_known(record):
    """None is taken for a broken line, and of the wanted kinds none is left out."""
    line = to_line(record)
    lines_, problems = found(line)
    kind = json.loads(line)["event_type"]
    assert lines_ == ([line[:-1]] if kind in ("transport.drop", "process.state") else [])
    assert not problems


def rewritten(data, **form):
    return b"".join(
        json.dumps(json.loads(one), **form).encode() + b"\n" for one in data.splitlines()
    )


@pytest.mark.parametrize(
    "form", [{}, {"sort_keys": True}, {"sort_keys": True, "separators": (",", ":")}]
)
def test_lines_that_a_shipper_has_written_anew_are_the_same(form):
    """With spaces, or other orders of keys."""
    lines_, problems = found(rewritten(ALL, **form))
    assert list(map(json.loads, lines_)) == list(map(json.loads, ALL.splitlines()[:3]))
    assert not problems
    assert interval_of(rewritten(ALL, **form)) == 1_000


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"\xff\xfe",
        b"[]",
        b"17",
        b"{}",
        b'{"ts":"1","event_type":"transport.drop"}',
        b'{"ts":-1,"event_type":"transport.drop"}',
        b'{"ts":1e400,"event_type":"transport.drop"}',
        b'{"ts":' + b"9" * 400 + b',"event_type":"transport.drop"}',
        b'{"ts":1795700000000,"event_type":7}',
        STALL[:-9],
        b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_counted(line):
    lines_, problems = found(line + b"\n" + STALL)
    assert lines_ == [STALL[:-1]]
    assert problems == {BROKEN: 1}


def test_a_blank_line_is_none():
    assert found(b"\n \n" + STALL) == ([STALL[:-1]], Counter())


def rows(line):
    problems: Counter[str] = Counter()
    return list(rows_of(line, "stream", 1_000, problems)), problems


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"duration_ms":2000', b'"duration_ms":99999999999999999999'),
        (b'"duration_ms":2000', b'"duration_ms":9223372036854775807'),
        (b'"duration_ms":2000', b'"duration_ms":-1'),
        (b'"pid":3000', b'"pid":true'),
        (b'"pid":3000', b'"pid":-7'),
        (b'"rank":0', b'"rank":1e9'),
        (b'"comm":"train"', b'"comm":["train"]'),
        (b'"local":"10.0.0.1:5001"', b'"local":"10.0.0.1:"'),
        (b'"local":"10.0.0.1:5001"', b'"local":"%b:1"' % (b"1" * 300)),
        (b'"direction":"receive"', b'"direction":"up"'),
        (b'"net":{', b'"net":7,"x":{'),
    ],
)
def test_a_wanted_line_with_impossible_content_is_counted(old, new):
    assert old in STALL
    assert rows(STALL[:-1].replace(old, new)) == ([], {BROKEN: 1})


def test_a_row_has_what_the_record_has():
    ((table, row),), problems = rows(STALL[:-1])
    assert (table, not problems) == ("stalls", True)
    assert row == {
        "ts_ms": BEGUN_MS + 2_000, "host": "node0", "boot_id": origin(0).boot_id,
        "pid": 3_000, "comm": "train", "job_id": "4711", "job_rank": 0,
        "entity_id": "socket-70001", "ongoing": True, "direction": "receive",
        "cause": "no_reply", "duration_ms": 2_000,
        "local_endpoint": "10.0.0.1:5001", "remote_endpoint": "10.0.0.2:5100",
        "peer_pid": None, "peer_comm": None, "peer_state": None, "interval_ms": 1_000,
    }  # fmt: skip


@given(st.binary(max_size=200))
def test_any_line_is_read(data):
    problems: Counter[str] = Counter()
    for line in wanted(data.split(b"\n"), problems):
        list(rows_of(line, "stream", 1_000, problems))


def test_a_stall_that_is_only_probable_is_no_wait():
    """It is a record, and nothing is concluded from it."""
    probable = STALL[:-1].replace(b'"uid":', b'"probable":true,"uid":')
    assert (wait_of(STALL[:-1]) is None, wait_of(probable)) == (False, None)
    assert rows(probable) == ([], {})


def test_times_are_those_of_all_lines():
    """In any order; a line of another form may have any time."""
    first, *others = ALL.splitlines(True)
    assert times_of(b"".join([*others, first])) == (BEGUN_MS, BEGUN_MS + 3_000, True)
    found = times_of(b"".join([others[0], first, b'{"a":1}\n', others[1]]))
    assert found == (BEGUN_MS, BEGUN_MS + 2_000, False)


def test_times_and_the_interval():
    assert times_of(ALL) == (BEGUN_MS, BEGUN_MS + 3_000, True)
    assert times_of(STALL) == (BEGUN_MS + 2_000, BEGUN_MS + 2_000, True)
    assert times_of(b"x\n") is None
    assert times_of(b'{"ts":x\n') is None
    assert interval_of(ALL) == 1_000
    assert interval_of(STALL) is None
