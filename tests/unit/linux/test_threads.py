"""What threads are blocked in, read from a /proc of one's own."""

from __future__ import annotations

import platform
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_proc import AUXV_32, AUXV_64, FakeProcess

from xctl_probe.events import Direction
from xctl_probe.linux import threads
from xctl_probe.linux.tasks import state_of
from xctl_probe.linux.threads import (
    BlockedThread,
    blocked_threads,
    closing_threads,
    inodes_awaited_writable,
)

SEND, RECEIVE = Direction.SEND, Direction.RECEIVE
PID, TID, INODE = 233, 239, 4_241
EPOLLIN, EPOLLOUT, EPOLLET = 0x1, 0x4, 1 << 31


@pytest.fixture(autouse=True)
def x86_64(monkeypatch):
    """Numbers of system calls as on x86-64, wherever the tests run."""
    monkeypatch.setattr(threads, "_MACHINE", "x86_64")


class Proc(FakeProcess):
    """The process whose threads block."""

    def __init__(self, root):
        super().__init__(root, PID)

    def thread(self, wchan=None, syscall=None, tid=TID):
        super().thread(tid, wchan=wchan, syscall=syscall)

    def epoll(self, fdinfo, fd=7):
        super().epoll(fd, fdinfo)

    def blocked(self):
        return blocked_threads(PID, self.root)

    def waits_writable(self):
        return INODE in inodes_awaited_writable(PID, self.root)


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


@pytest.mark.parametrize(
    ("wchan", "syscall", "found"),
    [
        (b"wait_woken", b"45 0x5 0x7f00 0x400 0x0 0x0 0x0 0x7ffe 0x7f01\n", (5, RECEIVE)),
        (b"wait_woken", b"44 0x5 0x7f00 0x400 0x0 0x0 0x0 0x7ffe 0x7f01\n", (5, SEND)),
        (b"wait_woken", b"0 0x3 0x7f00 0x400 0x0 0x0 0x0 0x7ffe 0x7f01\n", (3, RECEIVE)),
        (b"sk_wait_data", b"", (None, RECEIVE)),
        (b"sk_stream_wait_memory", None, (None, SEND)),
        (b"__skb_wait_for_more_packets", b"47 0x1f 0x0", (31, RECEIVE)),
        (b"sk_stream_wait_memory", b"40 0x11 0x5", (17, SEND)),
        (b"wait_woken", None, (None, None)),
        (b"wait_woken", b"running\n", (None, None)),
        (b"wait_woken", b"-1 0x7ffe 0x7f01\n", (None, None)),
        (b"wait_woken", b"232 0x5 0x7f00", (None, None)),
        (b"wait_woken", b"0 0xffffffff00000003", (3, RECEIVE)),
    ],
)
def test_a_thread_on_a_socket_is_found(proc, wchan, syscall, found):
    """The kernel function or the call shows which way, the call which descriptor."""
    proc.thread(wchan, syscall)
    assert proc.blocked() == [BlockedThread(TID, *found)]


@pytest.mark.parametrize(
    "wchan", [b"do_epoll_wait", b"pipe_read", b"hrtimer_nanosleep", b"futex_wait_queue"]
)
def test_a_thread_elsewhere_is_not(proc, wchan):
    """Asleep, in epoll or on a pipe: it waits for no socket."""
    proc.thread(wchan, b"0 0x5 0x0")
    assert proc.blocked() == []


@pytest.mark.parametrize("wchan", [b"0", b"", None])
@pytest.mark.parametrize(
    ("syscall", "found"),
    [
        (b"0 0x5 0x0", [BlockedThread(TID, 5, RECEIVE)]),
        (b"44 0x5 0x0", [BlockedThread(TID, 5, SEND)]),
        (b"232 0x5 0x0", []),
        (b"running", []),
        (b"", []),
        (None, []),
    ],
)
def test_where_the_function_is_not_known_the_call_has_to_show(proc, wchan, syscall, found):
    """x86 before 5.16, and kernels that do not show wchan: no call, no proof."""
    proc.thread(wchan, syscall)
    assert proc.blocked() == found


def test_the_call_outweighs_the_function(proc):
    """`sk_wait_data` also runs below sendmsg in places; the number shows what was asked."""
    proc.thread(b"sk_wait_data", b"46 0x5")
    assert proc.blocked() == [BlockedThread(TID, 5, SEND)]


POLLIN, POLLOUT = 1, 4
POLL = b"7 0x10 %#x 0x2710 0x0 0x0 0x0 0x7ffe 0x7f01\n"  # its descriptors at 16, for 10 s


def pollfds(*entries):
    return bytes(16) + b"".join(struct.pack("=iHH", fd, events, 0) for fd, events in entries)


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([(5, POLLIN)], [BlockedThread(TID, 5, RECEIVE)]),
        ([(-1, POLLIN), (5, POLLIN)], [BlockedThread(TID, 5, RECEIVE)]),
        ([(5, POLLIN), (6, POLLIN)], []),
        ([(5, POLLIN), (5, POLLIN)], []),
        ([(5, POLLOUT)], []),
        ([(5, POLLIN | POLLOUT)], []),
        ([], []),
    ],
    ids=["alone", "one is left out", "with another", "twice", "to write", "to do both", "nothing"],
)
@pytest.mark.parametrize("wchan", [b"do_sys_poll", b"poll_schedule_timeout.constprop.0", b"0"])
def test_who_polls_one_socket_alone_is_in_a_receive(proc, wchan, entries, found):
    """So waits a socket of Python with a timeout, and libpq."""
    proc.thread(wchan, POLL % len(entries))
    proc.write("mem", pollfds(*entries))
    assert proc.blocked() == found


def test_who_polls_more_descriptors_than_are_read_may_poll_another(proc):
    proc.thread(b"do_sys_poll", POLL % 4_097)
    proc.write("mem", pollfds((5, POLLIN)))
    assert proc.blocked() == []


def test_a_select_of_one_socket_is_a_receive(proc):
    proc.thread(b"do_select", b"23 0x6 0x10 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n")
    proc.write("mem", bytes(16) + bytes([1 << 5]))
    assert proc.blocked() == [BlockedThread(TID, 5, RECEIVE)]


@pytest.mark.parametrize(
    "line", [None, b"", b"running\n", b"7 0x10\n", b"0 0x5 0x0 0x0 0x0 0x0 0x0"]
)
def test_a_poll_that_may_not_be_read_shows_nothing(proc, line):
    """Yama hides the call, and with it the descriptors; a line may be of another moment."""
    proc.thread(b"do_sys_poll", line)
    proc.write("mem", pollfds((5, POLLIN)))
    assert proc.blocked() == []


def test_a_poll_whose_memory_is_closed_shows_nothing(proc):
    proc.thread(b"do_sys_poll", POLL % 1)
    assert proc.blocked() == []


@pytest.mark.parametrize(("auxv", "found"), [(AUXV_32, (None, None)), (AUXV_64, (5, SEND))])
def test_calls_of_a_32_bit_program_have_other_numbers(proc, auxv, found):
    """1 is no write there."""
    proc.thread(b"wait_woken", b"1 0x5 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n")
    proc.write("auxv", auxv)
    assert proc.blocked() == [BlockedThread(TID, *found)]


def test_what_is_close_here_is_read_in_a_32_bit_program(proc):
    proc.thread(b"wait_woken", b"3 0x5 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n")
    proc.write("auxv", AUXV_32)
    assert closing_threads(PID, proc.root) == []


@pytest.mark.parametrize(
    ("wchan", "moved", "found"),
    [
        (b"wait_woken", (5, 7), [BlockedThread(TID, 5, RECEIVE)]),
        (b"wait_woken", (7, 5), [BlockedThread(TID, 5, SEND)]),
        (b"pipe_wait_readable", (7, 5), []),
        (b"0", (7, 5), []),  # it may wait for the pipe
        (b"wait_woken", (7, 9), []),
    ],
)
def test_a_splice_waits_on_the_end_that_is_a_socket(proc, wchan, moved, found):
    proc.thread(wchan, b"275 %#x 0x0 %#x 0x0 0x3e8 0x0 0x7ffe 0x7f01\n" % moved)
    folder = proc.path / f"task/{TID}/fd"
    folder.mkdir()
    (folder / "5").symlink_to(f"socket:[{INODE}]")
    (folder / "7").symlink_to("pipe:[4243]")
    assert proc.blocked() == found


def test_each_thread_is_sampled(proc):
    """Five threads, three of them on sockets."""
    for tid, wchan in enumerate(
        [b"wait_woken", b"poll_schedule", b"sk_wait_data", b"pipe_read", b"wait_woken"]
    ):
        proc.thread(wchan, b"0 0x5", tid=241 + tid)
    assert sorted(thread.tid for thread in proc.blocked()) == [241, 243, 245]


def test_a_process_that_is_gone_has_no_threads(proc):
    """It may end between two samples."""
    assert proc.blocked() == []
    assert proc.waits_writable() is False


@pytest.mark.parametrize("text", [b"0 zz", b"0 :", b"45 0x"])
def test_a_mangled_call_is_unknown(text):
    """Never an exception, whatever stands in /proc/<pid>/syscall."""
    assert threads._call(text) == (None, None)


NUMBER = [b"0", b"1", b"45", b"-1", b"0x5", b"0xffffffffffffffff", b"299"]


@given(
    st.sampled_from([*NUMBER, b"running", b"\xb2", b""]),
    st.lists(st.sampled_from(NUMBER), max_size=8),
)
def test_any_line_of_calls_is_read(call, arguments):
    """Descriptors are numbers of 32 bits, and only with a direction."""
    fd, direction = threads._call(b" ".join([call, *arguments]))
    assert (fd is None) == (direction is None)
    assert fd is None or 0 <= fd < 2**32


def target(events, inode=INODE, tfd=9):
    return b"tfd: %8d events: %8x data: ffffffffffffffff  pos:0 ino:%x sdev:8\n" % (
        tfd,
        events,
        inode,
    )


HEAD = b"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t7919\n"


@pytest.mark.parametrize(
    ("events", "waiting"),
    [
        (EPOLLIN, False),
        (EPOLLOUT, True),
        (EPOLLIN | EPOLLOUT | 0x2018, True),
        (EPOLLOUT | EPOLLET, False),
        (EPOLLIN | EPOLLOUT | EPOLLET, False),
        (0, False),
    ],
)
def test_an_event_loop_waits_when_it_asks_for_room(proc, events, waiting):
    """Level-triggered interest in writing shows it; edge-triggered users always ask."""
    proc.epoll(HEAD + target(EPOLLOUT, inode=INODE + 1) + target(events))
    assert proc.waits_writable() is waiting


def test_the_inode_is_hexadecimal(proc):
    """proc(5): 0x4241 is another socket than 4241."""
    proc.epoll(HEAD + target(EPOLLOUT, inode=0x4241))
    assert proc.waits_writable() is False


def test_only_epoll_descriptors_are_read(proc):
    """A socket or a file whose fdinfo shows the same is none."""
    proc.socket(7, INODE)
    proc.write("fdinfo/7", HEAD + target(EPOLLOUT))
    assert proc.waits_writable() is False
    proc.epoll(HEAD + target(EPOLLOUT), fd=11)
    assert proc.waits_writable() is True


def test_an_epoll_descriptor_that_is_closed_meanwhile_reports_nothing(proc):
    """Its link was there, its fdinfo is not."""
    proc.epoll(None)
    assert proc.waits_writable() is False


def test_a_large_event_loop_is_read_to_its_end(proc):
    """The 5,003rd of its sockets counts like the first."""
    others = b"".join(target(EPOLLIN, inode=10_007 + n) for n in range(5_002))
    proc.epoll(HEAD + others + target(EPOLLOUT))
    assert proc.waits_writable() is True


@pytest.mark.parametrize(
    "line",
    [
        b"tfd: events: ino:",
        b"tfd:        5 events:       zz data: 0 ino:4241",
        b"tfd:        5 events:       1d data: ffffffffffffffff\n",
        b"tfd:" * 1_009,
        b"\xff\xfe\0events:4 ino:1091",
        b"tfd: 5 events: " + b"f" * 5_000 + b" ino:" + b"0" * 5_000,
    ],
)
def test_hostile_lines_are_passed_over(proc, line):
    """Lines without the inode (before 5.4), without events or without sense."""
    proc.epoll(HEAD + line + b"\n")
    assert proc.waits_writable() is False


@pytest.mark.parametrize(
    ("wchan", "syscall", "closes"),
    [
        (b"wait_woken", b"3 0x5 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n", True),
        (b"0", b"3 0x5 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n", True),
        (b"wait_woken", b"33 0x5 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n", False),
        (b"nfs_wait_bit", b"3 0x5 0x0 0x0 0x0 0x0 0x0 0x7ffe 0x7f01\n", False),
        (b"wait_woken", None, False),
        (b"0", b"running\n", False),
    ],
    ids=["socket", "old kernel", "another call", "a file", "not to be read", "running"],
)
def test_a_thread_in_close_is_known_by_its_call(proc, wchan, syscall, closes):
    """Its descriptor is gone: call and kernel function show that the close of a socket keeps it."""
    proc.thread(wchan, syscall)
    assert closing_threads(PID, proc.root) == [TID] * closes
    assert closing_threads(PID + 1, proc.root) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="NOT TESTED: arm64 has no poll")
def test_a_poll_is_found_after_a_stop():
    """As after `docker pause` of old, py-spy or a debugger: the kernel's own files."""
    script = "import select, socket; a, b = socket.socketpair(); p = select.poll();"
    script += " p.register(a, select.POLLIN); print(a.fileno(), flush=True); p.poll()"
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            expected = [BlockedThread(process.pid, int(process.stdout.readline()), RECEIVE)]
            _until(lambda: blocked_threads(process.pid) == expected)
            process.send_signal(signal.SIGSTOP)
            _until(lambda: state_of(process.pid) == "T")
            process.send_signal(signal.SIGCONT)
            _until(lambda: Path(f"/proc/{process.pid}/syscall").read_text().startswith("219 "))
            assert blocked_threads(process.pid) == expected
        finally:
            process.kill()


def _until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
