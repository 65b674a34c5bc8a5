"""The ring: bounded to the byte, ours alone, and whole after every error."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from support.require import require

from xctl_probe.errors import UsageError
from xctl_probe.recordings import ring as module
from xctl_probe.recordings.limits import Limits
from xctl_probe.recordings.ring import Ring

HOUR_MS = 3_600_000


def no_head():
    return b""


@pytest.fixture
def make(tmp_path):
    """Rings that are closed with the test; the first is in `tmp_path/ring`."""
    made = []

    def start(size=4_096, path=tmp_path / "ring", span_ms=HOUR_MS, head=no_head):
        made.append(Ring(path, Limits(span_ms, size), head))
        return made[-1]

    yield start
    for one in made:
        one.close()


def members(path):
    return b"".join(one.read_bytes() for one in sorted(path.glob("*.gz")))


def total(path):
    return sum(one.stat().st_size for one in path.glob("*.gz"))


@given(st.lists(st.integers(1, 999), max_size=60), st.integers(1_000, 5_000))
@with_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_size_is_held_to_the_byte_and_the_latest_stay(tmp_path_factory, sizes, limit):
    """After each write; what was removed is the oldest, and no more than a file and a member."""
    path = tmp_path_factory.mktemp("any") / "ring"
    ring = Ring(path, Limits(HOUR_MS, limit), no_head)
    written = b""
    for number, size in enumerate(sizes):
        member = bytes([number % 251]) * size
        ring.append(member)
        written += member
        assert total(path) <= limit
        assert written.endswith(members(path))
        assert total(path) >= min(len(written), limit - 2 * 999)
    ring.close()


def test_a_member_larger_than_the_ring_is_refused_and_nothing_is_removed(make, tmp_path):
    ring = make(1_000)
    ring.append(b"a" * 997)
    with pytest.raises(OSError, match="larger"):
        ring.append(b"b" * 1_009)
    assert members(tmp_path / "ring") == b"a" * 997


def test_files_begin_with_the_head(make, tmp_path):
    """Each of them, so that one alone has all that its records refer to."""
    ring = make(16 * 101, head=lambda: b"HEAD")
    for letter in (b"a", b"b", b"c"):
        ring.append(letter * 97)
    names = sorted(one.name for one in (tmp_path / "ring").glob("*.gz"))
    assert members(tmp_path / "ring") == b"".join(b"HEAD" + x * 97 for x in (b"a", b"b", b"c"))
    assert [name.split("-")[1] for name in names] == ["00000000", "00000001", "00000002"]


def test_a_head_and_a_member_may_be_larger_than_a_file(make, tmp_path):
    """But together not larger than the ring."""
    ring = make(1_600, head=lambda: b"H" * 67)
    for _ in range(30):
        ring.append(b"m" * 97)
        assert total(tmp_path / "ring") <= 1_600
    assert total(tmp_path / "ring") == 9 * 164
    for size in (1_600, 1_600 - 66):
        with pytest.raises(OSError, match="larger"):
            ring.append(b"m" * size)
    assert total(tmp_path / "ring") == 9 * 164


def test_files_older_than_the_span_are_removed(make, tmp_path):
    """By the time of their last record, which is that of the file."""
    first = make()
    first.append(b"old")
    first.close()
    (old,) = (tmp_path / "ring").glob("*.gz")
    os.utime(old, (1_009, 1_009))
    ring = make()
    ring.append(b"new")
    assert members(tmp_path / "ring") == b"new"


def test_a_new_ring_goes_on_after_the_last_file(make, tmp_path):
    """It never appends to a file that a killed probe may have left in part."""
    first = make()
    first.append(b"one")
    first.close()
    make().append(b"two")
    assert members(tmp_path / "ring") == b"onetwo"
    assert len(list((tmp_path / "ring").glob("*.gz"))) == 2


def test_only_the_owner_may_read_whatever_the_umask(make, tmp_path):
    before = os.umask(0)
    try:
        make().append(b"one")
    finally:
        os.umask(before)
    found = [tmp_path / "ring", *(tmp_path / "ring").iterdir()]
    assert {one.stat().st_mode & 0o777 for one in found[1:]} == {0o600}
    assert found[0].stat().st_mode & 0o777 == 0o700


class Disk:
    """write(2) of a disk that takes `room` more bytes, then none."""

    def __init__(self, room):
        self.room = room

    def write(self, fd, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = os.write(fd, data[: self.room])
        self.room -= taken
        return taken


@pytest.fixture
def disk(monkeypatch):
    """Limit what the ring may write from now on."""

    def limit(room):
        found = Disk(room)
        proxy = type("os", (), {**vars(os), "write": staticmethod(found.write)})
        monkeypatch.setattr(module, "os", proxy)
        return found

    return limit


def test_a_member_that_does_not_fit_leaves_nothing_and_the_next_is_whole(make, tmp_path, disk):
    """A full disk: no part of a member stays, and with room again the ring goes on."""
    ring = make()
    ring.append(b"one")
    full = disk(2)
    with pytest.raises(OSError, match="No space left"):
        ring.append(b"two")
    assert members(tmp_path / "ring") == b"one"
    full.room = 1_009
    ring.append(b"three")
    assert members(tmp_path / "ring") == b"onethree"


def test_a_head_that_does_not_fit_leaves_no_file(make, tmp_path, disk):
    """The next attempt begins the file again, with its head."""
    ring = make(head=lambda: b"HEAD")
    full = disk(3)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            ring.append(b"one")
        full.room = 3
    assert not list((tmp_path / "ring").glob("*.gz"))
    full.room = 1_009
    ring.append(b"one")
    assert members(tmp_path / "ring") == b"HEADone"


def test_a_removed_file_is_followed_by_another_one(make, tmp_path):
    ring = make()
    ring.append(b"one")
    (only,) = (tmp_path / "ring").glob("*.gz")
    only.unlink()
    ring.append(b"two")
    assert members(tmp_path / "ring") == b"two"


def test_a_removed_directory_is_made_again(make, tmp_path):
    ring = make()
    ring.append(b"one")
    for one in (tmp_path / "ring").iterdir():
        one.unlink()
    (tmp_path / "ring").rmdir()
    ring.append(b"two")
    assert members(tmp_path / "ring") == b"two"
    ring.close()


def test_other_files_are_left_alone(make, tmp_path):
    """Whatever lies there, and however old it is."""
    (tmp_path / "ring").mkdir(0o700)
    others = ["notes.txt", "records-1-x.gz", "records-00000001-20260101T000000Z.ndjson.gz.bak"]
    for name in others:
        (tmp_path / "ring" / name).write_bytes(b"x" * 999)
        os.utime(tmp_path / "ring" / name, (1_009, 1_009))
    ring = make(1_000)
    for _ in range(9):
        ring.append(b"y" * 499)
    assert all((tmp_path / "ring" / name).stat().st_size == 999 for name in others)


def test_a_symbolic_link_is_not_followed(make, tmp_path):
    """Planted for the lock, for a file of the ring, or for the directory."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "ring").mkdir(0o700)
    (tmp_path / "ring" / "records-00000000-20260101T000000Z.ndjson.gz").symlink_to(target)
    ring = make()
    ring.append(b"one")
    ring.close()
    assert target.read_bytes() == b"precious"
    (tmp_path / "ring" / ".lock").unlink()
    (tmp_path / "ring" / ".lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        make()
    (tmp_path / "other").symlink_to(tmp_path / "ring")
    with pytest.raises(UsageError, match="symbolic link"):
        make(path=tmp_path / "other")


def test_a_directory_of_another_user_is_refused(make, tmp_path):
    require(os.geteuid() == 0, "giving a directory away needs root")
    (tmp_path / "ring").mkdir(0o700)
    os.chown(tmp_path / "ring", 65_534, 65_534)
    with pytest.raises(UsageError, match="belongs to another user"):
        make()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_in_which_others_may_write_is_refused(make, tmp_path, mode):
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring").chmod(mode)
    with pytest.raises(UsageError, match="chmod go-w"):
        make()


def test_what_is_no_directory_is_refused(make, tmp_path):
    (tmp_path / "ring").write_bytes(b"")
    with pytest.raises(UsageError, match="not a directory"):
        make()
    with pytest.raises(UsageError, match="make it first"):
        make(path=tmp_path / "missing" / "ring")


HOLD = """
import sys
from pathlib import Path
from xctl_probe.recordings.limits import Limits
from xctl_probe.recordings.ring import Ring
ring = Ring(Path(sys.argv[1]), Limits(), lambda: b"")
ring.append(b"theirs")
print("held", flush=True)
sys.stdin.read()
"""


def test_two_probes_never_share_a_directory(make, tmp_path):
    """The second is refused; after SIGKILL of the first, the directory is free at once."""
    root = Path(__file__).parents[3]
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "ring")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    )
    try:
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another probe"):
            make()
        assert members(tmp_path / "ring") == b"theirs"
    finally:
        first.kill()
        first.communicate()
    make().append(b"ours")
    assert members(tmp_path / "ring") == b"theirsours"


def test_members_of_gzip_are_read_by_any_program(make, tmp_path):
    """As `zcat DIR/*` does."""
    ring = make(16 * 64)
    for number in range(9):
        ring.append(gzip.compress(b"%d\n" % number))
    found = subprocess.check_output("zcat ring/*", shell=True, cwd=tmp_path)
    assert found == b"0\n1\n2\n3\n4\n5\n6\n7\n8\n"
