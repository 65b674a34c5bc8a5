"""Reading a recording: in order, from a time on, and past what is damaged."""

from __future__ import annotations

import gzip
import os
from contextlib import closing

import pytest
from support.records import STALL
from support.require import require

from xctl_probe.errors import UsageError
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import StallRecord
from xctl_probe.recordings.reader import Recording


def member(*times_ms, count=1):
    """Some records at each of these times."""
    lines = [to_line(StallRecord(ts_ms, STALL)) for ts_ms in times_ms for _ in range(count)]
    return gzip.compress(b"".join(lines))


@pytest.fixture
def write(tmp_path):
    """Write the files of a recording, from the oldest."""
    folder = tmp_path / "recording"
    folder.mkdir(0o700)

    def one(*contents):
        for number, content in enumerate(contents):
            (folder / f"records-{number:08}-20260101T000000Z.ndjson.gz").write_bytes(content)
        return folder

    return one


def read(folder, since_ms=0, **options):
    """The times of the intervals with their numbers of records, and how much was damaged."""
    with closing(Recording(folder)) as recording:
        found = [
            (interval.ts_ms, len(list(interval.records())))
            for interval in recording.intervals(since_ms, **options)
        ]
        return found, recording.damaged


def test_intervals_come_in_the_order_of_writing(write):
    """One interval may be in several members; the clock may have stepped back."""
    folder = write(member(2_003, count=3) + member(2_003) + member(3_001), member(1_009, count=2))
    assert read(folder) == ([(2_003, 4), (3_001, 1), (1_009, 2)], 0)


def test_intervals_before_the_time_are_left_out(write):
    """And files whose last record is older are not even opened."""
    folder = write(b"damaged", member(1_009, 2_003) + member(3_001))
    os.utime(next(folder.glob("records-00000000-*")), (1, 1))
    assert read(folder, 2_003) == ([(2_003, 1), (3_001, 1)], 0)
    expected = [(1_009, 1), (2_003, 1), (3_001, 1)]
    assert read(folder, 2_003, lead=True) == (expected, 0)


def test_the_last_member_of_the_last_file_may_be_cut(write):
    """The probe was killed while it wrote, or writes now; with the cut at any byte."""
    whole, last = member(1_009), member(2_003)
    for cut in range(len(last)):
        assert read(write(whole + last[:cut])) == ([(1_009, 1)], 0)
    assert read(write(whole + last)) == ([(1_009, 1), (2_003, 1)], 0)


def test_a_damaged_member_loses_only_itself(write):
    """In the middle of a file, with any byte of its data changed; and it is counted."""
    parts = [member(1_009), member(2_003), member(3_001)]
    for at in range(10, len(parts[1])):
        broken = bytearray(parts[1])
        broken[at] ^= 0xFF
        found, damaged = read(write(parts[0] + bytes(broken) + parts[2]))
        assert found == [(1_009, 1), (3_001, 1)]
        assert damaged >= 1


def test_a_cut_file_before_the_last_one_is_counted(write):
    found, damaged = read(write(member(1_009) + member(2_003)[:-1], member(3_001)))
    assert (found, damaged) == ([(1_009, 1), (3_001, 1)], 1)


def test_lines_that_are_no_records_are_counted(write):
    """A line without a time belongs to no interval."""
    line = to_line(StallRecord(1_009, STALL))
    found, damaged = read(write(gzip.compress(b"\n{}\n" + line + b"\xff\n")))
    assert (found, damaged) == ([(1_009, 1)], 3)


def test_what_is_no_plain_file_is_not_read(write, tmp_path):
    """A fifo would hold the reader up; a symbolic link may lead anywhere."""
    folder = write(member(1_009))
    os.mkfifo(folder / "records-00000001-20260101T000000Z.ndjson.gz")
    target = tmp_path / "target"
    target.write_bytes(member(2_003))
    (folder / "records-00000002-20260101T000000Z.ndjson.gz").symlink_to(target)
    (folder / "records-00000003-20260101T000000Z.ndjson.gz").mkdir()
    assert read(folder) == ([(1_009, 1)], 0)


def test_a_bomb_is_bounded(write):
    """A member of 4 GiB of zeros is given up, and the next one is read."""
    bomb = gzip.compress(bytes(1 << 20), 9) * 3
    found, damaged = read(write(bomb + member(1_009)))
    assert found == [(1_009, 1)]
    assert damaged == 3


def test_files_of_another_user_are_left_out(write):
    """Root reads the recording of a user, and nothing that others have put there."""
    require(os.geteuid() == 0, "giving a file away needs root")
    folder = write(member(1_009), member(2_003))
    os.chown(folder, 65_534, 65_534)
    os.chown(next(folder.glob("records-00000000-*")), 65_534, 65_534)
    assert read(folder) == ([(1_009, 1)], 0)


def test_no_recording_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        Recording(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="not a directory"):
        Recording(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="symbolic link"):
        Recording(tmp_path / "link")
