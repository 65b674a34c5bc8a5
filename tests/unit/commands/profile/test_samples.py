"""Samples of threads and what a process has used, from files."""

from __future__ import annotations

import os

import pytest
from support.fake_proc import FakeProcess

from xctl_probe.commands.profile.threads import Activity, ThreadSamples
from xctl_probe.commands.profile.usage import Usage, read_usage, used_between

PID = 233
CPU, MEMORY, IO, NETWORK, SLEEP = Activity
NAMES = {0: "read", 7: "poll", 9: "mmap", 35: "nanosleep"}
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@pytest.fixture
def process(tmp_path):
    return FakeProcess(tmp_path, PID)


def thread(process, tid, syscall, state="S"):
    process.thread(tid, syscall=syscall)
    process.write(f"task/{tid}/stat", f"{tid} (a) {state} 1\n")


def sampled(process):
    samples = ThreadSamples(NAMES, process.root)
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
        ("-1 0x7f 0x7f\n", "T", SLEEP, "stop"),
        ("", "D", IO, ""),
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


def test_the_process_does_what_any_of_its_threads_does(process):
    """A pool that waits does not hide the thread that runs."""
    thread(process, PID, "7 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
    thread(process, 239, "35 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
    assert sampled(process).moments == {NETWORK: 1}
    thread(process, 241, "running\n", "R")
    found = sampled(process)
    assert found.moments == {CPU: 1}
    assert found.waits == {(NETWORK, "poll"): 1, (SLEEP, "nanosleep"): 1}


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
    process.thread(PID)
    process.write(f"task/{PID}/schedstat", "1000 500 3\n")
    before = read_usage(PID, process.root)
    stat(process, 123, 17, 1_029, 4)
    process.write(f"task/{PID}/schedstat", "2000 900 5\n")
    found = used_between([before], [read_usage(PID, process.root)])
    assert found == Usage(23 * TICK_NS, 7 * TICK_NS, 400, 29, 1, 0, 0, 0, 0, 0, 0)


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
