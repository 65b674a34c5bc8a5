"""Samples of threads and what a process has used, from files."""

from __future__ import annotations

import os
import shutil
import struct

import pytest
from support.fake_proc import FakeProcess

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.commands.profile.threads import ThreadSamples
from xctl_probe.commands.profile.usage import Queues, Usage, read_usage, used_between

PID = 233
CPU, MEMORY, IO, NETWORK, STOPPED, UNKNOWN, SLEEP = Activity
NAMES = {0: "read", 7: "poll", 9: "mmap", 35: "nanosleep", 219: "restart_syscall"}
RECEIVES = "0 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n"
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@pytest.fixture
def process(tmp_path):
    return FakeProcess(tmp_path, PID)


def thread(process, tid, syscall, state="S"):
    process.thread(tid, syscall=syscall)
    (process.path / f"task/{tid}/fd").symlink_to("../../fd")
    process.write(f"task/{tid}/stat", f"{tid} (a) {state} 1\n")


def sampled(process):
    samples = ThreadSamples(NAMES, process.root, machine="x86_64")
    samples.take([PID])
    return samples


@pytest.mark.parametrize(
    ("syscall", "state", "activity", "call"),
    [
        ("running\n", "R", CPU, ""),
        ("0 0x3 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "S", IO, "read"),
        ("0 0x4 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "S", SLEEP, "read (local)"),
        ("0 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "S", NETWORK, "read (socket)"),
        ("7 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "S", NETWORK, "poll"),
        ("9 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "D", MEMORY, "mmap"),
        ("35 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "S", SLEEP, "nanosleep"),
        ("999 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "S", SLEEP, "call 999"),
        ("-1 0x7f 0x7f\n", "D", MEMORY, "page fault"),
        ("-1 0x7f 0x7f\n", "S", SLEEP, ""),
        ("-1 0x7f 0x7f\n", "T", STOPPED, "stopped by a signal"),
        (RECEIVES, "T", STOPPED, "stopped by a signal"),
        (RECEIVES, "t", STOPPED, "held by a debugger"),
        ("", "T", STOPPED, "stopped by a signal"),
        ("", "D", IO, ""),
        ("", "S", UNKNOWN, ""),
    ],
)
def test_what_a_thread_is_in(process, syscall, state, activity, call):
    process.link(3, "/srv/data")
    process.link(4, "pipe:[7]")
    process.socket(5, 4_241)
    thread(process, PID, syscall, state)
    found = sampled(process)
    assert found.moments == {activity: 1}
    assert found.waits == ({(activity, call): 1} if call else {})


@pytest.mark.parametrize(
    ("words", "syscall", "state", "activity"),
    [
        ("=4I", RECEIVES, "S", UNKNOWN),
        ("=4I", RECEIVES, "D", IO),
        ("=4I", "running\n", "R", CPU),
        ("=4Q", RECEIVES, "S", NETWORK),
    ],
)
def test_the_calls_of_a_32_bit_program_are_not_named(process, words, syscall, state, activity):
    """A child may be one; the numbers of its calls are others."""
    process.write("auxv", struct.pack(words, 16, 0x1F8BFBFF, 6, 4_096))
    process.socket(5, 4_241)
    thread(process, PID, syscall, state)
    assert sampled(process).moments == {activity: 1}


def test_the_process_does_what_any_of_its_threads_does(process):
    """A pool that waits does not hide the thread that runs."""
    thread(process, PID, "7 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
    thread(process, 239, "35 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
    assert sampled(process).moments == {NETWORK: 1}
    thread(process, 241, "running\n", "R")
    found = sampled(process)
    assert found.moments == {CPU: 1}
    assert found.waits == {(NETWORK, "poll"): 1, (SLEEP, "nanosleep"): 1}


@pytest.mark.parametrize(
    ("target", "activity", "call"),
    [
        ("/dev/null", SLEEP, "read (local)"),  # of characters
        ("/dev/nvme0n1", IO, "read"),
        ("/srv/data", IO, "read"),
    ],
)
def test_a_disk_is_a_file_and_a_terminal_is_none(process, target, activity, call):
    process.link(3, target)
    thread(process, PID, "0 0x3 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "D")
    assert sampled(process).waits == {(activity, call): 1}


def test_descriptors_are_those_of_a_live_thread(process):
    """The folder of the process shows none once its first thread has exited."""
    thread(process, PID, "", "Z")
    process.thread(239, syscall=RECEIVES)
    process.write("task/239/stat", "239 (a) S 1\n")
    (process.path / "task/239/fd").mkdir()
    (process.path / "task/239/fd/5").symlink_to("socket:[4241]")
    assert sampled(process).waits == {(NETWORK, "read (socket)"): 1}


@pytest.mark.parametrize(
    ("function", "activity", "call"),
    [
        ("poll_schedule_timeout.constprop.0", NETWORK, "poll"),
        ("hrtimer_nanosleep", SLEEP, "nanosleep"),
        ("futex_do_wait", SLEEP, "restart_syscall"),
        ("0", UNKNOWN, "restart_syscall"),
    ],
)
def test_a_call_that_goes_on_after_a_stop_is_decided_by_where_it_waits(
    process, function, activity, call
):
    thread(process, PID, "219 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
    process.thread(PID, wchan=function)
    found = sampled(process)
    assert found.moments == {activity: 1}
    assert found.waits == {(activity, call): 1}


def test_a_process_in_a_frozen_cgroup_is_stopped(process, tmp_path):
    process.socket(5, 4_241)
    thread(process, PID, RECEIVES)
    process.write("cgroup", "0::/job\n")
    (tmp_path / "cgroups/job").mkdir(parents=True)
    events = tmp_path / "cgroups/job/cgroup.events"
    events.write_text("populated 1\nfrozen 1\n")
    (tmp_path / "self").mkdir()
    mount = f"24 1 0:2 / {tmp_path}/cgroups rw - cgroup2 none rw\n"
    (tmp_path / "self/mountinfo").write_text(mount)
    samples = ThreadSamples(NAMES, process.root)
    samples.take([PID])
    events.write_text("populated 1\nfrozen 0\n")
    samples.take([PID])
    assert samples.moments == {STOPPED: 1, NETWORK: 1}
    assert samples.waits[STOPPED, "frozen with its cgroup"] == 1


def test_a_thread_that_is_stopped_alone_stops_no_process(process):
    process.socket(5, 4_241)
    thread(process, PID, RECEIVES, "t")
    thread(process, 239, RECEIVES)
    assert sampled(process).moments == {NETWORK: 1}


def test_a_process_that_is_gone_has_no_sample(process):
    thread(process, PID, "", "Z")
    assert not sampled(process).moments


def stat(process, user, system, minor, major):
    fields = ["S", *["0"] * 6, minor, "0", major, "0", user, system]
    process.write("stat", f"{PID} (a b) {' '.join(map(str, fields))} 0\n")


def test_what_was_used_in_between(process):
    stat(process, 100, 10, 1_000, 3)
    process.write("io", "rchar: 7\nwchar: 11\nsyscr: 2\nsyscw: 3\nread_bytes: 0\n"
                        "write_bytes: 4096\n")  # fmt: skip
    before = read_usage(PID, process.root)
    stat(process, 123, 17, 1_029, 4)
    found = used_between([before], [read_usage(PID, process.root)])
    assert found == Usage(23 * TICK_NS, 7 * TICK_NS, 0, 29, 1, 0, 0, 0, 0, 0, 0)


def test_a_process_that_has_begun_since_counts_from_its_start():
    assert used_between([None, Usage(7)], [Usage(23, minor_faults=5), None]) == Usage(
        23, minor_faults=5
    )


def test_a_file_that_is_not_readable_leaves_the_bytes_unknown(process):
    stat(process, 1, 1, 0, 0)
    found = read_usage(PID, process.root)
    assert found is not None
    assert found.read_chars is None


def test_a_process_that_is_gone_has_used_nothing(tmp_path):
    assert read_usage(PID, tmp_path) is None


def queued(process, tid, ns):
    process.thread(tid)
    process.write(f"task/{tid}/schedstat", f"1000 {ns} 3\n")


def test_the_time_in_a_queue_is_that_of_each_thread_since_the_begin(process):
    queued(process, PID, 500)
    queues = Queues(process.root)
    queues.begin([PID])
    queued(process, PID, 900)
    queued(process, 239, 70)  # begun since
    queues.add([PID])
    assert queues.queued_ns == 400 + 70


def test_a_thread_that_exits_takes_no_time_away(process):
    queued(process, PID, 500)
    queued(process, 239, 7_000)
    queues = Queues(process.root)
    queues.begin([PID])
    queued(process, 239, 7_100)
    queues.add([PID])
    shutil.rmtree(process.path / "task/239")
    queued(process, PID, 520)
    queues.add([PID])
    assert queues.queued_ns == 100 + 20


def test_a_new_thread_of_the_same_number_begins_anew(process):
    queued(process, PID, 500)
    queues = Queues(process.root)
    queues.begin([PID])
    queued(process, PID, 30)
    queues.add([PID])
    assert queues.queued_ns == 30


def test_a_process_that_is_gone_was_in_no_queue(tmp_path):
    queues = Queues(tmp_path)
    queues.begin([PID])
    queues.add([PID])
    assert queues.queued_ns == 0
