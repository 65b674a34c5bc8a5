"""What a blocked thread waits for, read from a /proc made of files."""

from __future__ import annotations

import struct

import pytest

from xctl_probe.linux.syscalls import (
    MOST_FDS,
    Role,
    Watched,
    anonymous_inode,
    call_of,
    epoll_watches,
    is_elsewhere,
)

ADDRESS = 64  # of the call's argument, in a memory that is a small file
POLLIN, POLLOUT = 1, 4
PID = 233


@pytest.fixture
def proc(tmp_path):
    """A /proc with one process: its memory and one epoll descriptor can be written."""
    (tmp_path / str(PID) / "fdinfo").mkdir(parents=True)
    return tmp_path


def called(proc, number, *arguments, machine="x86_64", memory=b""):
    (proc / str(PID) / "mem").write_bytes(bytes(ADDRESS) + memory)
    six = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    line = " ".join([str(number), *map(hex, six), "0x7ffe0000", "0x7fff0000"])
    return call_of(line, PID, proc, machine)


@pytest.mark.parametrize(
    ("machine", "number", "name", "role"),
    [
        ("x86_64", 45, "recvfrom", Role.RECEIVE),
        ("x86_64", 0, "read", Role.RECEIVE),
        ("x86_64", 44, "sendto", Role.SEND),
        ("x86_64", 42, "connect", Role.CONNECT),
        ("x86_64", 288, "accept4", Role.ACCEPT),
        ("x86_64", 17, "pread64", Role.RECEIVE),
        ("x86_64", 327, "preadv2", Role.RECEIVE),
        ("x86_64", 328, "pwritev2", Role.SEND),
        ("x86_64", 74, "fsync", Role.SEND),
        ("aarch64", 286, "preadv2", Role.RECEIVE),
        ("aarch64", 287, "pwritev2", Role.SEND),
        ("aarch64", 83, "fdatasync", Role.SEND),
        ("aarch64", 207, "recvfrom", Role.RECEIVE),
        ("aarch64", 203, "connect", Role.CONNECT),
    ],
)
def test_a_call_on_one_descriptor_waits_for_that(proc, machine, number, name, role):
    """The descriptor is its first argument, of which the kernel takes 32 bits."""
    call = called(proc, number, 0xFFFFFFFF00000007, machine=machine)
    assert (call.name, call.role) == (name, role)
    assert [watched.fd for watched in call.watched] == [7]


@pytest.mark.parametrize(
    ("machine", "number", "name", "second"),
    [
        ("x86_64", 275, "splice", 2),
        ("x86_64", 276, "tee", 1),
        ("x86_64", 326, "copy_file_range", 2),
        ("aarch64", 76, "splice", 2),
        ("aarch64", 77, "tee", 1),
        ("aarch64", 285, "copy_file_range", 2),
    ],
)
def test_a_call_that_moves_data_reads_from_one_and_writes_to_another(
    proc, machine, number, name, second
):
    arguments = [7, 0, 0, 0, 17, 0]
    arguments[second] = 0xFFFFFFFF0000000B
    call = called(proc, number, *arguments, machine=machine)
    assert (call.name, call.role) == (name, Role.MOVE)
    assert call.watched == (Watched(7, True, False), Watched(11, False, True))


@pytest.mark.parametrize(
    ("number", "arguments", "cut"),
    [
        (7, (ADDRESS, MOST_FDS), False),
        (7, (ADDRESS, MOST_FDS + 1), True),
        (271, (ADDRESS, 0xFFFFFFFF00000001), False),
        (23, (MOST_FDS, 0), False),
        (270, (MOST_FDS + 1, 0), True),
        (232, (5, ADDRESS, MOST_FDS + 1), False),
    ],
)
def test_what_is_not_read_of_a_poll_is_not_known(proc, number, arguments, cut):
    """By its argument: descriptors that are in it twice, or negative, count as well."""
    assert called(proc, number, *arguments).cut is cut


@pytest.mark.parametrize(
    ("machine", "number", "elsewhere"),
    [
        ("x86_64", "202", True),
        ("x86_64", "230", True),
        ("x86_64", "45", False),
        ("x86_64", "9999", False),
        ("aarch64", "98", True),
        ("aarch64", "202", False),
        ("riscv64", "202", False),
    ],
)
def test_a_wait_for_a_lock_is_on_no_descriptor(machine, number, elsewhere):
    assert is_elsewhere(f"{number} 0x7 0x0", machine) is elsewhere
    assert not is_elsewhere("running", machine)


def test_poll_names_its_descriptors_in_memory(proc):
    """So a client with a timeout is seen to wait for one socket; a negative one is skipped."""
    memory = struct.pack("=iHHiHHiHH", 7, POLLIN, 0, -1, POLLIN, 0, 11, POLLIN | POLLOUT, 0)
    call = called(proc, 7, ADDRESS, 3, 5_000, memory=memory)
    assert call.role is Role.POLL
    assert call.watched == (Watched(7, True, False), Watched(11, True, True))


def test_a_poll_may_ask_for_normal_data_only(proc):
    """POLLRDNORM and POLLWRNORM are bits of their own: poll(2)."""
    memory = struct.pack("<ihhihh", 3, 0x40, 0, 5, 0x100, 0)
    call = called(proc, 7, ADDRESS, 2, memory=memory)
    assert call.watched == (Watched(3, True, False), Watched(5, False, True))


def test_select_names_its_descriptors_as_bits(proc):
    """Two sets, one for each direction; one of them may be missing."""
    reads, writes = 1 << 3 | 1 << 17, 1 << 17 | 1 << 19
    memory = reads.to_bytes(8, "little") + writes.to_bytes(8, "little")
    call = called(proc, 23, 20, ADDRESS, ADDRESS + 8, memory=memory)
    assert call.watched == (
        Watched(3, True, False), Watched(17, True, True), Watched(19, False, True),
    )  # fmt: skip
    call = called(proc, 270, 20, ADDRESS, 0, memory=memory)
    assert [watched.fd for watched in call.watched] == [3, 17]


def test_urgent_data_and_the_end_of_a_connection_are_neither_data_nor_room(proc):
    """The third set of select, and POLLRDHUP alone."""
    reads, urgent = 1 << 3, 1 << 3 | 1 << 5
    memory = reads.to_bytes(8, "little") + urgent.to_bytes(8, "little")
    of_select = called(proc, 23, 20, ADDRESS, 0, ADDRESS + 8, memory=memory)
    assert of_select.watched == (Watched(3, True, False), Watched(5, False, False))
    of_poll = called(proc, 7, ADDRESS, 1, memory=struct.pack("=iHH", 5, 0x2000, 0))
    assert of_poll.watched == (Watched(5, False, False),)
    assert [w.is_for_neither for w in of_select.watched] == [False, True]


def test_an_absurd_count_or_address_is_no_error(proc):
    """Memory may change, or never have been what the call names."""
    for arguments in ((ADDRESS, 1 << 63), (1 << 63, 3), (0, 0)):
        assert called(proc, 7, *arguments).role is Role.POLL


def test_an_event_loop_watches_what_was_registered(proc):
    """Edge-triggered users ask for writability always: theirs does not count."""
    (proc / str(PID) / "fdinfo" / "5").write_text(
        "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n"
        "tfd:        7 events:       19 data:                7  pos:0 ino:1f sdev:8\n"
        "tfd:       11 events:        4 data:                b  pos:0 ino:2b sdev:8\n"
        "tfd:       13 events: 8000201d data:                d  pos:0 ino:35 sdev:8\n"
        "tfd: broken\n"
    )
    expected = (Watched(7, True, False), Watched(11, False, True), Watched(13, True, False))
    assert epoll_watches(PID, 5, proc) == expected
    assert [watched.inode for watched in epoll_watches(PID, 5, proc)] == [0x1F, 0x2B, 0x35]
    assert called(proc, 232, 5).watched == expected
    assert epoll_watches(PID, 6, proc) == ()


@pytest.mark.parametrize(
    "line", ["running", "-1 0x7ffe 0x7fff", "", "45", "45 x y z", "9999 0x0 0x0 0x0 0x0 0x0 0x0"]
)
def test_what_is_no_call_on_descriptors_is_none(proc, line):
    """A running thread, one in a fault, one that may not be read, an unknown number."""
    assert call_of(line, PID, proc, "x86_64") is None


def test_an_unknown_machine_knows_no_calls(proc):
    """Numbers differ, so none is guessed."""
    assert called(proc, 45, 7, machine="riscv64") is None


@pytest.fixture
def nested(proc):
    """Descriptors 5 and up, each an epoll that watches these."""
    (proc / str(PID) / "fd").mkdir()

    def write(fd, watched, inode=None):
        ino = f"{inode or anonymous_inode():x}"
        lines = (f"tfd: {w:8} events:       19 data: 1  pos:0 ino:{ino} sdev:e\n" for w in watched)
        (proc / str(PID) / "fdinfo" / str(fd)).write_text("pos:\t0\n" + "".join(lines))
        (proc / str(PID) / "fd" / str(fd)).symlink_to("anon_inode:[eventpoll]")

    return write


def test_an_epoll_among_what_is_watched_is_followed(proc, nested):
    """Whichever call waits for it; two that watch each other are read once."""
    nested(5, [6])
    nested(6, [7, 5])
    nested(7, [11], inode=0x2B)
    for call in (
        called(proc, 232, 5),
        called(proc, 7, ADDRESS, 1, memory=struct.pack("=iHH", 5, POLLIN, 0)),
    ):
        assert Watched(11, True, False) in call.watched
        assert len(call.watched) <= 5


def test_a_thousand_copies_of_an_epoll_are_not_all_read(proc, nested):
    """Who has so many has them to keep the reader busy."""
    copies = range(10, 1_010)
    for fd in copies:
        nested(fd, copies)
    assert len(epoll_watches(PID, 10, proc)) <= 17 * len(copies)


@pytest.mark.parametrize(
    ("number", "arguments", "gives_up"),
    [
        (7, (ADDRESS, 0, 5_000), True),
        (7, (ADDRESS, 0, 0xFFFFFFFF), False),
        (7, (ADDRESS, 0, 0xFFFFFFFFFFFFFFFF), False),
        (271, (ADDRESS, 0, ADDRESS), True),
        (271, (ADDRESS, 0, 0), False),
        (23, (0, 0, 0, 0, ADDRESS), True),
        (270, (0, 0, 0, 0, 0), False),
        (232, (3, ADDRESS, 17, 5_000), True),
        (281, (3, ADDRESS, 17, 0xFFFFFFFF), False),
        (441, (3, ADDRESS, 17, ADDRESS), True),
        (45, (7, ADDRESS, 17), False),
    ],
)
def test_a_poll_that_was_given_a_timeout_gives_up(proc, number, arguments, gives_up):
    assert called(proc, number, *arguments).gives_up is gives_up
