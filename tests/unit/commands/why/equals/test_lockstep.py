"""Which equal processes fell silent together, and which one holds them up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from xctl_probe.commands.why.equals import lockstep as module
from xctl_probe.commands.why.equals.lockstep import (
    DISK,
    POLLS,
    RUNS,
    SLEEPS,
    STOPPED,
    WAITS,
    WAITS_ASIDE,
    Held,
    Link,
    Thread,
    does,
    fell_silent_together,
    groups_of,
    held_by_one,
    links_of,
    lockstep,
    note,
    sample_threads,
)
from xctl_probe.events import Process
from xctl_probe.fallback.local_pairs import Pair

QUIET_MS = 9_001
FUTEX, EPOLL, NAP = "futex_wait_queue", "ep_poll", "hrtimer_nanosleep"


@pytest.fixture
def start():
    """Start programs, which end with the test; their processes."""
    running = []

    def one(*words):
        code = "import sys; print(flush=True); sys.stdin.read()"
        child = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        running.append(child)
        child.stdout.readline()
        return Process(child.pid, 0, "rank")

    yield one
    for child in running:
        child.communicate()


def test_a_link_is_between_two_processes_of_one_program(start):
    """Their command lines differ by numbers only."""
    one, other, server = start("--rank=0"), start("--rank=11"), start("--serve=0")
    owners = dict(enumerate((one, other, server, one)))
    pairs = [Pair(inodes, ("a", "b"), 7) for inodes in ((0, 1), (0, 2), (0, 3), (0, 5))]
    assert links_of(pairs, owners) == [Link((one.pid, other.pid), ("a", "b"), 7)]


def link(one, other, quiet_ms=QUIET_MS):
    return Link((one, other), (f"h:{one}", f"h:{other}"), quiet_ms)


RING = [link(1, 2), link(2, 3), link(3, 4), link(4, 1)]


def test_processes_that_are_connected_are_a_group():
    others = [link(7, 8), link(8, 9)]
    found = groups_of([RING[0], others[0], *RING[1:], others[1]])
    assert sorted(sorted(group) for group in found) == sorted([sorted(RING), sorted(others)])


@pytest.mark.parametrize(
    ("links", "quiet_ms"),
    [
        (RING, QUIET_MS),
        ([*RING[:3], link(4, 1, 7_001)], 7_001),  # two went on for a moment
        ([*RING[:3], link(4, 1, 6_999)], None),  # or for longer
        ([link(1, 2, 1_900), link(2, 3, 1_900)], None),  # a long step
        ([link(1, 2, 60_000), link(3, 4), link(4, 1)], None),  # one was left out before
        ([link(1, 2)], None),  # a client and its server
    ],
)
def test_a_stop_is_a_silence_of_all_at_once(links, quiet_ms):
    assert fell_silent_together(links) == quiet_ms


def test_a_link_of_the_start_is_no_evidence():
    """As that to the store of a job: each process has moved data on another one since."""
    assert fell_silent_together([*RING, link(1, 3, 600_000)]) == QUIET_MS


def thread(state="S", ticks=0, function=FUTEX, in_calls=0):
    return Thread(state, ticks, in_calls, function)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({1: thread()}, {1: thread()}, ""),
        ({1: thread(), 2: thread(function=EPOLL)}, {1: thread(), 2: thread("R", 1, "")}, ""),
        ({1: thread("R", 7)}, {1: thread("R", 10)}, RUNS),
        ({1: thread("R", 7)}, {1: thread("R", 27, in_calls=2)}, RUNS),
        ({1: thread("R", 7)}, {1: thread("R", 25, in_calls=2)}, POLLS),
        ({1: thread("R", 7)}, {1: thread("R", 8)}, POLLS),  # too little to decide
        ({1: thread("S", 7)}, {1: thread("S", 17, in_calls=7)}, POLLS),
        ({1: thread("R", 7), 2: thread("R")}, {1: thread("R", 9, "", 9), 2: thread("R", 9)}, RUNS),
        ({1: thread(), 2: thread("S", 7)}, {1: thread(), 2: thread("S", 23)}, RUNS),
        ({1: thread()}, {1: thread("S", 4)}, None),  # it wakes up often
        ({1: thread("D")}, {1: thread("D")}, DISK),
        ({1: thread("T")}, {1: thread("T")}, STOPPED),
        ({1: thread(function=NAP)}, {1: thread(function=NAP)}, SLEEPS),
        ({1: thread(function=NAP)}, {1: thread()}, None),
        ({1: thread(function="pipe_read")}, {1: thread(function="pipe_read")}, None),
        ({1: thread(function="")}, {1: thread(function="")}, None),  # it may not be read
        ({2: thread()}, {2: thread()}, None),  # the first thread has exited
        ({}, {}, None),
    ],
)
def test_what_a_process_does(monkeypatch, before, after, expected):
    monkeypatch.setattr(module, "_TICKS_A_SECOND", 100)
    assert does(1, before, after, 0.3) == expected


@pytest.mark.parametrize(
    ("changed", "does_instead"),
    [
        ({3: RUNS}, RUNS),
        ({3: STOPPED, 4: WAITS}, STOPPED),
        ({3: WAITS}, WAITS_ASIDE),
    ],
    ids=str,
)
def test_who_polls_without_sleeping_waits_as_well(changed, does_instead):
    """As in a job of NCCL or MPI; then also who sleeps is the one that does something else."""
    held = held_by_one(RING, {1: POLLS, 2: POLLS, 3: POLLS, 4: POLLS} | changed, QUIET_MS)
    assert (held.pid, held.does) == (3, does_instead)


def test_the_only_one_that_polls_runs():
    """What else it does in its calls is not known."""
    held = held_by_one(RING, {1: WAITS, 2: WAITS, 3: POLLS, 4: WAITS}, QUIET_MS)
    assert (held.pid, held.does) == (3, RUNS)


def test_all_wait_for_the_one_that_does_something_else():
    """Each for the neighbour that is nearer to it."""
    held = held_by_one(RING, {1: "", 2: "", 3: RUNS, 4: ""}, QUIET_MS)
    waits = {wait.waiter: (wait.target, wait.local, wait.remote) for wait in held.waits}
    assert waits == {2: (3, "h:2", "h:3"), 4: (3, "h:4", "h:3"), 1: (2, "h:1", "h:2")}
    assert held.quiet_ms == QUIET_MS
    assert (held.pid, held.does, sorted(held.pids)) == (3, RUNS, [1, 2, 3, 4])
    assert note(held).startswith("nothing has moved between 4 processes of one program for 9.0 s,")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {3: RUNS, 4: SLEEPS},
        {3: None},
        {3: None, 4: RUNS},
        {3: None, 4: POLLS},
        {3: POLLS, 4: POLLS},
        dict.fromkeys(range(1, 5), POLLS),
    ],
    ids=str,
)
def test_else_none_is_named(changed):
    """All wait, as in a dead-lock of locks; two do something; or one cannot be seen."""
    held = held_by_one(RING, {1: "", 2: "", 3: "", 4: ""} | changed, QUIET_MS)
    assert held == Held([1, 2, 3, 4], QUIET_MS, [])
    assert note(held) == (
        "nothing has moved between 4 processes of one program for 9.0 s: they are idle, "
        "or which of them holds the others up cannot be seen"
    )


@pytest.mark.parametrize(("unread", "named"), [((True, False), False), ((False, True), True)])
def test_a_process_that_leaves_data_unread_waits_for_something_else(unread, named):
    links = [RING[0], RING[1]._replace(unread=unread), *RING[2:]]  # of 2 and 3
    held = held_by_one(links, {1: "", 2: "", 3: RUNS, 4: ""}, QUIET_MS)
    assert (held.pid is not None) is named


def test_threads_are_sampled():
    (pid, threads), *others = sample_threads([os.getpid(), 1 << 22]).items()
    assert (pid, others) == (os.getpid(), [])
    assert threads[pid].state == "R"
    assert threads[pid].user_ticks > 0


def test_of_too_many_threads_none_is_sampled(monkeypatch):
    monkeypatch.setattr(module, "_MOST_THREADS", 0)
    assert sample_threads([os.getpid()]) == {}


def test_nothing_is_sampled_where_nothing_is_silent(monkeypatch):
    monkeypatch.setattr(module, "sample_threads", None)
    assert lockstep([], {}) == []
