"""What a process does for one of its sockets, read from a /proc made of files."""

from __future__ import annotations

import os
import platform
import struct

import pytest
from support.fake_proc import AUXV_32, AUXV_64, EPOLL_HEAD, FakeProcess, epoll_line

from xctl_probe.linux import process_activity as module
from xctl_probe.linux.process_activity import (
    Activity,
    OwnActivity,
    Processes,
    RunTime,
    SchedCounters,
    Work,
    worked_ns,
)
from xctl_probe.linux.syscalls import MOST_FDS, anonymous_inode

PID, TID, INODE, FD, EPOLL = 233, 239, 4_241, 7, 5
EPOLLIN, EPOLLOUT, EPOLLET, EPOLLONESHOT = 0x1, 0x4, 1 << 31, 1 << 30
ADDRESS = 64  # of an argument, in a memory that is a small file
ARGUMENTS = " 0x0 0x0 0x0 0x0 0x7ffe 0x7fff\n"

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="NOT TESTED: numbers of system calls as on x86-64"
)


class Proc(FakeProcess):
    """One process with one thread, a socket and an epoll instance."""

    def __init__(self, root):
        super().__init__(root, PID)
        super().thread(TID)
        self.state()
        self.socket(FD, INODE)

    def state(self, state="S", parent=223):
        self.write("stat", f"{PID} (a) b) {state} {parent} 0 0")

    def thread(self, syscall=None, wchan=None, tid=TID):
        super().thread(tid, syscall=syscall, wchan=wchan)

    def epoll(self, events, fd=EPOLL, inode=INODE):
        super().epoll(fd, EPOLL_HEAD + epoll_line(FD, events, inode))

    def activity_of(self):
        return Processes(self.root).activity(PID, INODE)


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


def call(number, first=0, second=0):
    return f"{number} {first:#x} {second:#x}" + ARGUMENTS


@pytest.mark.parametrize(
    ("fd", "events", "found"),
    [
        (EPOLL, EPOLLIN, Activity.WAITING_ON_SOCKET),
        (EPOLL, EPOLLIN | EPOLLET, Activity.WAITING_ON_SOCKET),
        (EPOLL, EPOLLOUT, Activity.OTHER),
        (EPOLL, EPOLLONESHOT, Activity.OTHER),  # reported once, and not asked again yet
        (EPOLL + 1, EPOLLIN, Activity.EVENT_LOOP_BUSY),  # in another loop than the socket's
    ],
)
def test_a_thread_in_epoll_waits_for_what_its_instance_watches(proc, fd, events, found):
    proc.epoll(events)
    proc.thread(call(232, fd))
    assert proc.activity_of() is found


def test_another_socket_s_loop_is_not_this_one_s(proc):
    proc.epoll(EPOLLIN, inode=INODE + 1)
    proc.thread(call(232, EPOLL))
    assert proc.activity_of() is Activity.OTHER


@pytest.mark.parametrize(
    ("fd", "events", "found"),
    [(FD, 1, Activity.WAITING_ON_SOCKET), (FD, 4, Activity.OTHER), (FD + 1, 1, Activity.OTHER)],
)
def test_a_thread_in_poll_waits_for_the_descriptors_it_names(proc, fd, events, found):
    """They stand in its memory."""
    (proc.path / "mem").write_bytes(bytes(ADDRESS) + struct.pack("=iHH", fd, events, 0))
    proc.thread(call(7, ADDRESS, 1))
    assert proc.activity_of() is found


@pytest.mark.parametrize(
    ("syscall", "found"),
    [
        (call(45, FD), Activity.WAITING_ON_SOCKET),  # recvfrom: a thread for each connection
        (call(0, FD + 1), Activity.OTHER),  # read
        (call(44, FD), Activity.OTHER),  # sendto
        (call(426, 3), Activity.WAITING_ON_SOCKET),  # io_uring_enter: the descriptor is not known
        (call(230), Activity.OTHER),  # clock_nanosleep
        ("running\n", Activity.OTHER),
    ],
)
def test_other_calls(proc, syscall, found):
    proc.thread(syscall)
    assert proc.activity_of() is found


@pytest.mark.parametrize(
    ("syscall", "wchan", "found"),
    [
        (call(9_999, FD), "wait_woken", Activity.UNDECIDED),  # no call that is known
        (call(9_999, FD), "do_select", Activity.UNDECIDED),
        (call(61, 0), "do_wait", Activity.OTHER),  # wait4
        (call(202, 0), "wait_woken", Activity.OTHER),  # futex: its function is not read
        (call(275, FD), "wait_woken", Activity.WAITING_ON_SOCKET),  # splice
        (call(275, FD), "pipe_wait_writable", Activity.OTHER),
        (call(275, FD + 1), "wait_woken", Activity.OTHER),
        (call(327, FD), "wait_woken", Activity.WAITING_ON_SOCKET),  # preadv2
    ],
)
def test_calls_that_few_use(proc, syscall, wchan, found):
    proc.thread(syscall, wchan)
    assert proc.activity_of() is found
    assert not own(proc).runs


def test_a_poll_of_more_descriptors_than_are_read_may_have_this_one(proc):
    proc.thread(call(7, ADDRESS, MOST_FDS + 1))
    assert proc.activity_of() is Activity.UNDECIDED
    (proc.path / "mem").write_bytes(bytes(ADDRESS) + struct.pack("=iHH", FD, 1, 0))
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET


@pytest.mark.parametrize(
    ("loops", "found"), [(16, Activity.WAITING_ON_SOCKET), (17, Activity.UNDECIDED)]
)
def test_an_epoll_is_found_among_many_descriptors_of_a_poll(proc, loops, found):
    """The last of them monitors the socket; a few are read."""
    pipes, epolls = range(100, 200), range(200, 200 + loops)
    for fd in epolls:
        proc.epoll(EPOLLIN, fd=fd, inode=INODE + (fd < epolls[-1]))
    fds = [*pipes, *epolls]
    memory = b"".join(struct.pack("=iHH", fd, 1, 0) for fd in fds)
    (proc.path / "mem").write_bytes(bytes(ADDRESS) + memory)
    proc.thread(call(7, ADDRESS, len(fds)))
    assert proc.activity_of() is found


def test_a_relative_may_wait_in_a_call_that_is_not_known(proc, tmp_path):
    proc.state(parent=241)
    thread = tmp_path / "241/task/241"
    thread.mkdir(parents=True)
    (thread / "syscall").write_text(call(9_999, FD))
    (thread / "wchan").write_text("wait_woken")
    assert proc.activity_of() is Activity.UNDECIDED


def test_a_loop_that_does_not_sleep_may_come_back(proc):
    proc.epoll(EPOLLIN)
    for syscall in ("running\n", call(230)):
        proc.thread(syscall)
        assert proc.activity_of() is Activity.EVENT_LOOP_BUSY


@pytest.mark.parametrize(
    ("wchan", "watched", "found"),
    [
        ("ep_poll", True, Activity.WAITING_ON_SOCKET),
        ("do_epoll_wait", True, Activity.WAITING_ON_SOCKET),
        ("ep_poll", False, Activity.OTHER),
        ("poll_schedule_timeout.constprop.0", False, Activity.WAITING_ON_SOCKET),
        ("do_sys_poll", False, Activity.WAITING_ON_SOCKET),
        ("do_select", False, Activity.WAITING_ON_SOCKET),
        ("io_cqring_wait", False, Activity.WAITING_ON_SOCKET),
        ("hrtimer_nanosleep", False, Activity.OTHER),
        (
            "wait_woken",
            False,
            Activity.WAITING_ON_SOCKET,
        ),  # in a receive, for all one sees on this socket
        ("sk_wait_data", False, Activity.WAITING_ON_SOCKET),
        ("sk_stream_wait_memory", False, Activity.OTHER),
        ("0", False, Activity.OTHER),
    ],
)
def test_where_the_call_may_not_be_read_its_function_has_to_do(proc, wchan, watched, found):
    """Yama keeps /proc/<pid>/syscall from one's own processes, too."""
    if watched:
        proc.epoll(EPOLLIN)
    proc.thread(None, wchan)
    assert proc.activity_of() is found


@pytest.mark.parametrize(
    ("auxv", "wchan", "found"),
    [
        (AUXV_32, "ep_poll", Activity.WAITING_ON_SOCKET),
        (AUXV_32, "hrtimer_nanosleep", Activity.EVENT_LOOP_BUSY),
        (AUXV_64, "hrtimer_nanosleep", Activity.WAITING_ON_SOCKET),
    ],
)
def test_of_a_32_bit_program_the_kernel_function_decides(proc, auxv, wchan, found):
    """Its calls have other numbers: 232 is epoll_wait here, and flistxattr there."""
    proc.epoll(EPOLLIN)
    proc.write("auxv", auxv)
    proc.thread(call(232, EPOLL), wchan)
    assert proc.activity_of() is found


@pytest.mark.parametrize(("state", "stopped"), [("T", True), ("t", True), ("S", False)])
def test_a_stopped_process_waits_for_nothing(proc, state, stopped):
    proc.epoll(EPOLLIN)
    proc.thread(call(232, EPOLL))
    proc.state(state)
    assert (proc.activity_of() is Activity.STOPPED) is stopped
    assert Processes(proc.path.parent).stopped(PID) is stopped


def test_a_debugger_that_holds_one_thread_does_not_stop_the_others(proc):
    proc.state("t")
    for tid, state in ((PID, "t"), (TID, "S")):
        proc.thread(call(45, FD), tid=tid)
        proc.write(f"task/{tid}/stat", f"{tid} (a) {state} 223 0 0")
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET


def test_any_thread_that_waits_is_enough(proc):
    proc.epoll(EPOLLIN)
    proc.thread("running\n")
    proc.thread(call(232, EPOLL), tid=TID + 1)
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET


@pytest.mark.parametrize("epoll", [False, True])
def test_where_not_all_threads_are_read_another_may_serve_it(proc, epoll, monkeypatch):
    """A pool of hundreds, and the thread that serves is the youngest."""
    if epoll:
        proc.epoll(EPOLLIN)
    for tid in range(TID, TID + 3):
        proc.thread(call(202), tid=tid)  # futex
    assert proc.activity_of() is (Activity.EVENT_LOOP_BUSY if epoll else Activity.OTHER)
    monkeypatch.setattr(module, "_MOST_THREADS", 2)
    assert proc.activity_of() is Activity.UNDECIDED


def test_of_a_pool_of_three_hundred_all_threads_are_read(proc):
    for tid in range(TID, TID + 300):
        proc.thread(call(202), tid=tid)
    proc.thread(call(45, FD), tid=TID + 300)
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET


@pytest.mark.parametrize(
    ("wchan", "found"),
    [("do_poll.constprop.0", Activity.WAITING_ON_SOCKET), ("hrtimer_nanosleep", Activity.OTHER)],
)
def test_a_poll_that_was_stopped_goes_on_under_another_number(proc, wchan, found):
    """restart_syscall, which a sleep becomes as well; the arguments are the same."""
    (proc.path / "mem").write_bytes(bytes(ADDRESS) + struct.pack("=iHH", FD, 1, 0))
    proc.thread(call(219, ADDRESS, 1), wchan)
    assert proc.activity_of() is found


def test_a_process_that_is_gone_does_nothing(tmp_path):
    processes = Processes(tmp_path)
    assert processes.activity(PID, INODE) is Activity.OTHER
    assert processes.sched_counters(PID) == SchedCounters(0, 0, 0)


def test_its_threads_steps_are_added_up(proc):
    for tid, count in ((TID, 101), (TID + 1, 1_009)):
        proc.thread(tid=tid)
        status = f"Name:\ta\nvoluntary_ctxt_switches:\t{count}\nnonvoluntary_ctxt_switches:\t7\n"
        (proc.path / f"task/{tid}/status").write_text(status)
        (proc.path / f"task/{tid}/schedstat").write_text(f"{count * 7} {count * 11} 13\n")
    assert Processes(proc.path.parent).sched_counters(PID) == SchedCounters(1_110, 7_770, 12_210)


def test_the_time_in_the_queue_for_a_cpu_is_read_of_threads_that_run(proc):
    for tid, count, syscall in ((TID, 101, "running\n"), (TID + 1, 1_009, call(202, 1))):
        proc.thread(syscall, tid=tid)
        (proc.path / f"task/{tid}/schedstat").write_text(f"{count * 7} {count * 11} 13\n")
        (proc.path / f"task/{tid}/status").write_text(f"voluntary_ctxt_switches:\t{count}\n")
    assert own(proc).running == (RunTime(TID, 707, 1_111, 101),)


@pytest.mark.parametrize(
    ("parent", "tid", "children"), [(241, PID, ""), (1, PID, "239 241 "), (1, TID, "241 ")]
)
def test_a_relative_that_shares_the_socket_may_be_the_one_that_serves(
    proc, tmp_path, parent, tid, children
):
    """As sshd's child does, whose parent holds the connection, too."""
    proc.state(parent=parent)
    proc.thread(tid=tid)
    proc.write(f"task/{tid}/children", children)
    assert proc.activity_of() is Activity.OTHER
    thread = tmp_path / "241/task/241"
    thread.mkdir(parents=True)
    (thread / "syscall").write_text(call(45, FD))
    (tmp_path / "241/fd").mkdir()
    (tmp_path / f"241/fd/{FD}").symlink_to(f"socket:[{INODE}]")
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET


def test_one_reading_serves_until_the_next_sample(proc):
    """A thousand sockets of one server cost one read of it."""
    processes = Processes(proc.path.parent)
    proc.epoll(EPOLLIN)
    proc.thread(call(232, EPOLL))
    assert processes.activity(PID, INODE) is Activity.WAITING_ON_SOCKET
    proc.thread("running\n")
    assert processes.activity(PID, INODE) is Activity.WAITING_ON_SOCKET
    processes.begin()
    assert processes.activity(PID, INODE) is Activity.EVENT_LOOP_BUSY


@pytest.mark.parametrize("number", [232, 7])  # epoll_wait and poll
def test_an_epoll_that_another_watches_is_followed(proc, number):
    proc.epoll(EPOLLIN, fd=EPOLL + 1)
    proc.epoll(EPOLLIN, fd=EPOLL, inode=anonymous_inode())
    nested = proc.path / f"fdinfo/{EPOLL}"
    nested.write_text(nested.read_text().replace(f"tfd: {FD:8}", f"tfd: {EPOLL + 1:8}"))
    (proc.path / "mem").write_bytes(bytes(ADDRESS) + struct.pack("=iHH", EPOLL, 1, 0))
    proc.thread(call(number, *((EPOLL,) if number == 232 else (ADDRESS, 1))))
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET


def test_a_process_whose_first_thread_has_ended_is_read_by_another(proc, tmp_path):
    proc.state("Z")
    other = tmp_path / str(TID)
    (other / "fd").mkdir(parents=True)
    (other / "stat").write_text(f"{TID} (a) S 1 0")
    (other / f"fd/{FD}").symlink_to(f"socket:[{INODE}]")
    (proc.path / f"fd/{FD}").unlink()
    proc.thread(call(45, FD))
    assert proc.activity_of() is Activity.WAITING_ON_SOCKET
    assert not Processes(tmp_path).stopped(PID)


def test_a_process_in_a_frozen_cgroup_waits_for_nothing(proc, tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(f"30 1 0:26 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cg/box").mkdir(parents=True)
    (tmp_path / "cg/box/cgroup.events").write_text("populated 1\nfrozen 1\n")
    (proc.path / "cgroup").write_text("0::/box\n")
    proc.thread(call(45, FD))
    assert proc.activity_of() is Activity.STOPPED


# What the process that waits does itself


def own(proc):
    return Processes(proc.path.parent).own_activity(PID, INODE)._replace(read_ns=0)


def first_thread(proc, state, syscall=None, wchan=None):
    proc.thread(syscall, wchan, tid=PID)
    (proc.path / "stat").write_text(f"{PID} (a) {state} 223 0 0")


@pytest.mark.parametrize(
    ("state", "syscall", "wchan", "sleeps", "runs"),
    [
        ("S", call(230, 0, 0), None, True, False),  # clock_nanosleep
        ("S", call(35, 0x7FFE), None, True, False),  # nanosleep
        ("S", "", "hrtimer_nanosleep", True, False),  # its call may not be read
        ("S", call(202, 0x7FFE), None, False, False),  # futex
        ("D", call(1, 3), None, True, False),  # write to a disk
        ("R", "running\n", None, False, True),
    ],
)
def test_the_first_thread_shows_whether_it_sleeps_elsewhere(
    proc, state, syscall, wchan, sleeps, runs
):
    proc.epoll(EPOLLIN)
    proc.thread(call(232, EPOLL))
    first_thread(proc, state, syscall, wchan)
    times = (RunTime(PID, 0, 0, 0),)
    expected = OwnActivity(Activity.WAITING_ON_SOCKET, runs, sleeps, running=times if runs else ())
    assert own(proc) == expected


@pytest.mark.parametrize(
    ("syscall", "wchan"),
    [(call(45, FD), None), (call(7, ADDRESS, 1), None), ("", "wait_woken"), ("", "do_poll")],
)
def test_a_thread_in_a_receive_or_a_poll_is_blocked(proc, syscall, wchan):
    """Whatever the first thread does."""
    first_thread(proc, "S", call(230, 0, 0))
    (proc.path / "mem").write_bytes(bytes(ADDRESS) + struct.pack("=iHH", FD, 1, 0))
    proc.thread(syscall, wchan)
    expected = OwnActivity(Activity.WAITING_ON_SOCKET, sleeps_elsewhere=True, blocked=True)
    assert own(proc) == expected


def test_the_time_on_a_cpu_is_fields_14_and_15_of_the_process(proc):
    proc.thread(call(232, EPOLL))
    fields = " ".join(map(str, range(4, 53)))
    (proc.path / "stat").write_text(f"{PID} (a) b) S {fields}")
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert own(proc).system_ns == 15 * tick_ns
    assert own(proc).ran_ns == 29 * tick_ns


@pytest.mark.parametrize(
    ("syscall", "wchan"), [("running\n", None), ("", "0")], ids=["syscall", "wchan"]
)
def test_any_thread_may_run(proc, syscall, wchan):
    first_thread(proc, "S", call(202, 0x7FFE))
    proc.thread(syscall, wchan)
    assert own(proc).runs


def test_a_process_is_read_once_in_a_sample_for_all_its_sockets(proc):
    proc.thread(call(232, EPOLL))
    (proc.path / "stat").write_text(f"{PID} (a) S " + " ".join(map(str, range(4, 53))))
    processes = Processes(proc.path.parent)
    first = processes.own_activity(PID, INODE)
    (proc.path / "stat").write_text(f"{PID} (a) S " + " ".join(map(str, range(5, 54))))
    assert processes.own_activity(PID, INODE + 2).ran_ns == first.ran_ns
    processes.begin()
    assert processes.own_activity(PID, INODE).ran_ns > first.ran_ns


def test_the_work_of_a_process_is_the_time_of_its_threads_that_poll_nothing(proc):
    """At two readings: what a thread of an event loop has computed is the work of the loop."""
    calls = {
        241: (call(232, EPOLL), None), 251: ("", "do_poll"), 257: ("running\n", None),
        263: (call(202, 0x7FFE), None), 269: ("", "hrtimer_nanosleep"),
    }  # fmt: skip
    for tid, (syscall, wchan) in calls.items():
        proc.thread(syscall, wchan, tid=tid)
        (proc.path / f"task/{tid}/schedstat").write_text(f"{tid * 1_000} 11 13\n")
    before = Processes(proc.path.parent).work(PID).by_tid_ns
    assert {tid: before[tid] for tid in before if tid in calls} == {
        257: 257_011, 263: 263_011, 269: 269_011,
    }  # fmt: skip
    now = before | {257: 258_020, 241: 999_000}
    del now[263]  # it has returned to a poll
    assert worked_ns(Work(now), Work(before)) == 1_009
