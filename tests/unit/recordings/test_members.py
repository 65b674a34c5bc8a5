"""Members of a recording: gzip reads them, and their summary is that of their lines."""

from __future__ import annotations

import gzip
import subprocess
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleet import at, beat, holds, lines, starts, waits

from xctl_probe.events import State
from xctl_probe.recordings.members import HEADER_BYTES, pack, summary_of

UNATTRIBUTED = waits(0, 4, 23.5)
LINES = lines(
    None,
    beat(23, interval_ms=500),
    waits(0, 1, 23),
    waits(0, 2, 23),
    waits(0, 2, 23.5),  # once more
    waits(0, 3, 23.5, ongoing=False),
    replace(UNATTRIBUTED, stall=replace(UNATTRIBUTED.stall, owner=None)),
    starts(0, 23.5),
    starts(1, 23.5, State.EXIT),
    holds(0, [1], 23.5),
).splitlines(keepends=True)


def test_other_readers_of_gzip_pass_over_the_summary(tmp_path):
    path = tmp_path / "stream.gz"
    path.write_bytes(pack(LINES) + pack(LINES[:1]))
    assert gzip.decompress(path.read_bytes()) == b"".join(LINES + LINES[:1])
    done = subprocess.run(["gzip", "-dc", path], capture_output=True, check=True)
    assert done.stdout == b"".join(LINES + LINES[:1])


def test_summary_is_that_of_the_lines():
    member = pack(LINES)
    found = summary_of(member)
    assert found is not None
    assert found._asdict() == {
        "size": len(member),
        "first_ms": at(23),
        "last_ms": at(23.5),
        "records": 9,
        "waits": 2,
        "states": 2,
        "interval_ms": 500,
    }


def test_lines_that_are_no_record_count_as_lines():
    found = summary_of(pack([b"what\n", LINES[1], b"\n"]))
    assert found is not None
    assert (found.records, found.waits, found.first_ms, found.interval_ms) == (3, 1, 0, 0)


@pytest.mark.parametrize("content", [b"what\n", b""])
def test_member_of_another_program_has_none(content):
    assert summary_of(gzip.compress(content)) is None
    assert summary_of(content) is None


@given(st.integers(0, HEADER_BYTES - 1), st.binary(min_size=1, max_size=9))
def test_no_header_is_an_error(at, garbage):
    """What is impossible is no summary; a size never points at the member itself."""
    header = pack(LINES)[:HEADER_BYTES]
    found = summary_of(header[:at] + garbage + header[at + len(garbage) :])
    assert found is None or (found.size > HEADER_BYTES and found.first_ms <= found.last_ms)
    assert summary_of(header[:at]) is None


def test_lines_in_another_form_are_counted_alike():
    """A line that another program has written anew."""
    found = summary_of(pack([orjson.dumps(orjson.loads(line)) + b" \n" for line in LINES]))
    assert found is not None
    assert (found.waits, found.states) == (2, 2)
