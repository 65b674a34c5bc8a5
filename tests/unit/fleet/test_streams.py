"""Files of streams: whole lines with their places, whatever the file holds."""

from __future__ import annotations

import gzip
import itertools
import os
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.fleet.streams import DAMAGED, LONG, TRUNCATED, Piece, Refused, files_of, pieces
from xctl_probe.recordings.members import pack

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


PACKED = [pack(LINES[at : at + 101]) for at in range(0, 4_241, 101)]


def test_a_member_that_is_passed_over_has_its_summary_and_its_place(file):
    """Every second one; in a file that is longer than what is read of it at a time."""
    path = file(b"".join(PACKED * 97))
    assert path.stat().st_size > 1 << 20
    turns = itertools.cycle([True, False])
    found: dict[int, list[Piece]] = {}
    for piece in pieces(path, Counter(), passes=lambda _: next(turns)):
        found.setdefault(piece.place.offset, []).append(piece)
    sizes = [len(member) for member in PACKED * 97]
    assert list(found) == [0, *itertools.accumulate(sizes[:-1])]
    passed, read_ = list(found.values())[::2], list(found.values())[1::2]
    assert [piece.passed.size for (piece,) in passed] == sizes[::2]
    assert {piece.lines for (piece,) in passed} == {b""}
    assert {piece.passed for pieces_ in read_ for piece in pieces_} == {None}
    assert b"".join(piece.lines for piece in read_[0]) == b"".join(LINES[101:202])


@pytest.mark.parametrize("change", [-1, 1, 23, 1 << 20, -60])
def test_a_size_that_is_no_members_is_not_relied_on(file, change):
    """The member is read, and so is the next one."""
    damaged = bytearray(PACKED[1])
    struct.pack_into("<I", damaged, 16, len(damaged) + change)
    path = file(PACKED[0] + bytes(damaged) + PACKED[2])
    found = list(pieces(path, problems := Counter(), passes=lambda _: True))
    assert [piece.lines for piece in found] == [b"", b"".join(LINES[101:202]), b""]
    assert not problems


def test_a_last_member_that_breaks_off_is_counted(file):
    whole = PACKED[0] + PACKED[1]
    for cut in (1, 8, 9, len(PACKED[1]) - 11, len(PACKED[1]) - 47):
        path = file(whole[:-cut])
        found = list(pieces(path, problems := Counter(), passes=lambda _: True))
        assert found[0].passed is not None
        assert {piece.passed for piece in found[1:]} <= {None}
        assert problems == {TRUNCATED: 1}


def test_a_long_line_is_left_out_and_counted(file):
    long = b"x" * (3 << 20)
    for data in (WHOLE + long + b"\n" + WHOLE, gzip.compress(WHOLE + long + b"\n" + WHOLE)):
        found, problems = read(file(data))
        assert b"".join(piece.lines for piece in found) == WHOLE + WHOLE
        assert problems == {LONG: 1}


def test_a_place_after_a_long_line_begins_after_it(file):
    """It is read as a whole: the line may have any length."""
    long = b"x" * (3 << 20)
    path = file(LINES[0] + long + b"\n" + WHOLE + long + b"\n" + LINES[1][:-1])
    found, _ = read(path)
    assert max(piece.place.size for piece in found) < 1 << 20
    again = [one.lines for piece in found for one in pieces(path, Counter(), piece.place)]
    assert again == [piece.lines for piece in found]
    assert b"".join(again) == LINES[0] + WHOLE + LINES[1]


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
