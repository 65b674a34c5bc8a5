"""What the states of threads show of a process."""

from __future__ import annotations

import os

import pytest

from xctl_probe.events import PeerActivity
from xctl_probe.linux import thread_states as module
from xctl_probe.linux.thread_states import ThreadStates

PID = 233


def write(proc, threads, pid=PID):
    for number, state in enumerate(threads):
        folder = proc / str(pid) / "task" / str(pid + number)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid + number} (a) b) {state} 1 1")
    (proc / str(pid) / "stat").write_text(f"{pid} (a) b) {threads[0]} 1 1")


def states(proc, *threads):
    write(proc, threads)
    return ThreadStates(proc).of(PID)


@pytest.fixture
def in_order(monkeypatch):
    """The kernel lists the oldest thread first."""
    listed = os.listdir
    monkeypatch.setattr(module.os, "listdir", lambda path: sorted(listed(path), key=int))


@pytest.mark.parametrize(
    ("threads", "found"),
    [
        ("S", None),
        ("SS", None),
        ("SR", PeerActivity.RUNNING),
        ("RD", PeerActivity.DISK_SLEEP),
        ("T", PeerActivity.STOPPED),
        ("t", PeerActivity.STOPPED),
        ("tt", PeerActivity.STOPPED),
        ("tS", None),  # a debugger holds each thread by itself
        ("tR", PeerActivity.RUNNING),
        ("ST", None),  # one thread alone does not stop the process
    ],
)
def test_the_states_of_the_threads_are_one_activity(tmp_path, threads, found):
    assert states(tmp_path, *threads) is found


@pytest.mark.parametrize(
    ("threads", "found"), [("T", PeerActivity.STOPPED), ("t", None), ("S", None), ("R", None)]
)
def test_who_a_debugger_or_tracer_holds_was_not_stopped(tmp_path, threads, found):
    """So is a process below strace, at each of its calls."""
    write(tmp_path, threads)
    assert ThreadStates(tmp_path).stopped(PID) is found


def test_a_process_that_is_gone_shows_nothing(tmp_path):
    assert ThreadStates(tmp_path).of(PID) is None


def test_a_rank_has_more_than_a_hundred_threads(tmp_path, in_order):
    """The oldest ones may all sleep."""
    write(tmp_path, "S" * 1_023 + "R")
    found = ThreadStates(tmp_path)
    assert found.of(PID) is PeerActivity.RUNNING
    assert not found.is_partial(PID)


def test_what_threads_do_that_are_not_read_is_not_known(tmp_path, in_order):
    write(tmp_path, "S" * 1_024 + "R")
    found = ThreadStates(tmp_path)
    assert found.of(PID) is None
    assert found.is_partial(PID)


def test_a_sample_reads_a_bounded_number_of_threads(tmp_path, in_order, monkeypatch):
    """Of a process, as many as before at least."""
    monkeypatch.setattr(module, "_MOST_ALL", 7)
    monkeypatch.setattr(module, "_LEAST_THREADS", 3)
    pids = [PID, PID + 1_000, PID + 2_000]
    for pid, threads in zip(pids, ["SSSSSR", "SSSR", "SSR"], strict=True):
        write(tmp_path, threads, pid)
    found = ThreadStates(tmp_path)
    for _ in range(2):
        found.begin()
        run = PeerActivity.RUNNING
        assert [found.of(pid) for pid in pids] == [run, None, run]
        assert [found.is_partial(pid) for pid in pids] == [False, True, False]
    found.begin()
    assert [found.of(pid) for pid in reversed(pids)] == [run, run, None]
