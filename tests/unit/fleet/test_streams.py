"""Files of streams: whole lines with their places, whatever the file holds."""

from __future__ import annotations

import gzip
import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.fleet.streams import DAMAGED, LONG, TRUNCATED, Refused, files_of, pieces

LINES = [b'{"ts":%d,"net":{}}\n' % number for number in range(23_003)]
WHOLE = b"".join(LINES)


def read(path):
    problems: Counter[str] = Counter()
    return list(pieces(path, problems)), problems


@pytest.fixture
def file(tmp_path):
    def make(data):
        path = tmp_path / "stream"
        path.write_bytes(data)
        return path

    return make


FORMS = {
    "plain": WHOLE,
    "one member": gzip.compress(WHOLE),
    "a member for each interval": b"".join(
        gzip.compress(b"".join(LINES[at : at + 1_009])) for at in range(0, len(LINES), 1_009)
    ),
    "members that cut lines": b"".join(
        gzip.compress(WHOLE[at : at + 100_003]) for at in range(0, len(WHOLE), 100_003)
    ),
}


@pytest.mark.parametrize("form", [form for form in FORMS if "cut" not in form])
def test_all_lines_are_read_and_each_place_can_be_read_again(file, form):
    path = file(FORMS[form])
    found, problems = read(path)
    assert b"".join(piece.lines for piece in found) == WHOLE
    assert not problems
    for place in {piece.place for piece in found}:
        again = b"".join(one.lines for one in pieces(path, Counter(), place))
        assert again == b"".join(one.lines for one in found if one.place == place)


def test_a_last_line_without_its_end_is_a_line(file):
    for data in (WHOLE[:-1], gzip.compress(WHOLE[:-1])):
        path = file(data)
        found, problems = read(path)
        assert b"".join(piece.lines for piece in found) == WHOLE
        assert not problems
        last = found[-1].place
        assert b"".join(one.lines for one in pieces(path, problems, last)).endswith(LINES[-1])


def test_compressed_data_that_breaks_off_is_read_up_to_there(file):
    data = FORMS["a member for each interval"]
    found, problems = read(file(data[: len(data) * 2 // 3]))
    lines = b"".join(piece.lines for piece in found)
    assert problems == {TRUNCATED: 1}
    assert WHOLE.startswith(lines[: lines.rindex(b"\n", 0, -1)])
    assert lines.count(b"\n") > len(LINES) // 2


def test_a_damaged_member_costs_only_itself(file):
    members = [gzip.compress(line) for line in LINES[:7]]
    members[3] = members[3][:-6] + b"\xff" * 6
    found, problems = read(file(b"".join(members)))
    lines = [piece.lines for piece in found]
    assert [line for line in LINES[:7] if line not in lines] in ([], [LINES[3]])
    assert problems == {DAMAGED: 1}


def test_several_members_are_one_place(file):
    members = [gzip.compress(line) for line in LINES[:7]]
    members[3] = members[3][:-6] + b"\xff" * 6
    path = file(b"".join(members))
    found, _ = read(path)
    first, last = found[1].place, found[-2].place
    again = pieces(path, Counter(), first._replace(last=last.offset))
    assert [piece.lines for piece in again] == [piece.lines for piece in found[1:-1]]


def test_a_long_line_is_left_out_and_counted(file):
    long = b"x" * (3 << 20)
    for data in (WHOLE + long + b"\n" + WHOLE, gzip.compress(WHOLE + long + b"\n" + WHOLE)):
        found, problems = read(file(data))
        assert b"".join(piece.lines for piece in found) == WHOLE + WHOLE
        assert problems == {LONG: 1}


def test_a_bomb_takes_no_memory(file):
    """A hundred MiB of zeros in a hundred KiB."""
    found, problems = read(file(gzip.compress(bytes(100 << 20))))
    assert found == []
    assert problems == {LONG: 1}


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read(tmp_path_factory, data, compressed):
    path = tmp_path_factory.mktemp("any") / "stream"
    path.write_bytes(b"\x1f\x8b\x08" + data if compressed else data)
    found, problems = read(path)
    if not compressed and not data.startswith(b"\x1f\x8b\x08"):
        whole = data + (b"\n" if data and not data.endswith(b"\n") else b"")
        assert b"".join(piece.lines for piece in found) == whole
        assert not problems


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name, reason in (("fifo", "not a regular file"), ("absent", "No such file")):
        with pytest.raises(Refused, match=reason):
            read(tmp_path / name)


def test_the_streams_of_a_directory(tmp_path):
    for name in ("b.ndjson.gz", "a.ndjson", ".hidden.ndjson", "notes.txt", "c.jsonl"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.ndjson").symlink_to(tmp_path / "notes.txt")
    assert [path.name for path in files_of(tmp_path)] == ["a.ndjson", "b.ndjson.gz", "c.jsonl"]
    assert files_of(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="a directory without a stream"):
        files_of(tmp_path / "empty")
