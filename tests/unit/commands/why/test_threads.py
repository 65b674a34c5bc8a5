"""What a thread waits in, from two samples of a /proc made of files."""

from __future__ import annotations

import os
import struct
import threading
import time
from dataclasses import replace

import pytest

from xctl_probe.commands.why.threads import (
    Thread,
    idle_times_ms,
    is_often_in_calls,
    naps,
    read_threads,
    sleeps_on,
    waits_in,
)
from xctl_probe.linux.syscalls import Call, Role, Watched

PID = 233
POLL = Call("poll", Role.POLL, (Watched(7, True, False),))
RECV = Call("recvfrom", Role.RECEIVE, (Watched(7, True, False),))


def thread(call=None, *, running=False):
    return Thread(PID, "client", "R" if running else "S", "", call, True, 0, None, running=running)


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (thread(RECV), thread(RECV), RECV),
        (None, thread(RECV), RECV),  # a thread that was born between the samples
        (thread(POLL), thread(running=True), POLL),  # it woke up to read the clock
        (thread(RECV), thread(running=True), None),  # its data came
        (thread(POLL), thread(), None),  # it sleeps in something else now
        (None, thread(running=True), None),
    ],
)
def test_who_runs_just_now_may_have_waited_before(before, now, found):
    """A poll that is woken by its timeout is still a wait."""
    assert waits_in(now, before) == found


@pytest.mark.parametrize(("wchan", "waits"), [("wait_woken", True), ("pipe_wait_writable", False)])
def test_a_splice_that_waits_for_its_pipe_is_no_wait_on_the_socket(wchan, waits):
    splice = Call("splice", Role.MOVE, (Watched(7, True, False), Watched(4, False, True)))
    now = replace(thread(splice), wchan=wchan)
    assert waits_in(now, now) == (splice if waits else None)


@pytest.mark.parametrize(
    ("user", "system", "often"), [(27, 3, True), (28, 2, False), (3, 0, False), (2, 0, True)]
)
def test_who_polls_busily_spends_its_time_in_calls(user, system, often):
    """By the ticks between two samples; who computes makes few calls.  Two ticks show nothing."""
    before = thread(running=True)
    after = replace(before, user_ticks=user, system_ticks=system)
    assert is_often_in_calls(after, before) == often


def test_who_wakes_up_between_the_samples_naps():
    """In no call on a descriptor; where the kernel does not count, none is seen to."""
    before = replace(thread(), last_ran_ms=7_000.0)
    after = replace(before, last_ran_ms=7_100.0)
    assert naps(after, before)
    assert not naps(before, before)
    assert not naps(replace(after, call=POLL), before)
    assert not naps(after, None)
    assert not naps(replace(after, last_ran_ms=None), before)


def test_a_poll_with_a_timeout_is_a_nap_where_none_of_it_is_of_the_network():
    """select(0, NULL, NULL, NULL, 10 ms), or a pipe that is to wake the thread up."""
    before = replace(thread(replace(POLL, gives_up=True)), last_ran_ms=7_000.0)
    after = replace(before, last_ran_ms=7_100.0)
    assert naps(after, before, network={11})
    assert not naps(after, before, network={7})
    assert not naps(replace(after, call=POLL), before, network={11})
    assert not naps(before, before, network={11})


def test_who_sleeps_in_one_call_at_both_samples_is_seen_to():
    now = thread(RECV)
    assert sleeps_on(now, thread(RECV))
    for before in (None, thread(POLL), thread(RECV, running=True)):
        assert not sleeps_on(now, before)
    assert not sleeps_on(thread(RECV, running=True), now)
    assert not sleeps_on(thread(), thread())


@pytest.fixture
def proc(tmp_path):
    """A /proc with threads of any name and state."""

    def write(tid, name, state="S", wchan="0", syscall="", ran_ms=None):
        task = tmp_path / str(PID) / "task" / str(tid)
        task.mkdir(parents=True)
        (task / "stat").write_bytes(b"%d (%s) %s " % (tid, name, state.encode()) + b"1 " * 49)
        (task / "wchan").write_text(wchan)
        (task / "syscall").write_text(syscall)
        if ran_ms is not None:
            line = f"se.exec_start                                :       {ran_ms}\n"
            (task / "sched").write_text(f"name ({tid}, #threads: 1)\n---\n{line}")

    write.root = tmp_path
    return write


def test_threads_come_with_their_names_and_states(proc):
    """A name may hold parentheses, spaces and any byte."""
    proc(239, b"a) S (b\xff", wchan="sk_wait_data", syscall="45 0x7 0 0 0 0 0 0 0", ran_ms=1.5)
    proc(233, b"main", state="R", syscall="running")
    main, other = read_threads(PID, proc.root)
    assert (main.tid, main.comm, main.running, main.call) == (233, "main", True, None)
    assert (other.comm, other.state, other.wchan) == ("a) S (b\\xff", "S", "sk_wait_data")
    assert other.last_ran_ms == 1.5
    assert other.call_readable
    assert not other.in_other_call


@pytest.mark.parametrize(
    ("syscall", "found"), [("999 0x7 0 0 0 0 0 0 0", True), ("-1 0x7 0x9", False), ("", False)]
)
def test_a_call_that_is_not_known_is_no_page_fault(proc, syscall, found):
    proc(233, b"main", wchan="__folio_lock", syscall=syscall)
    (main,) = read_threads(PID, proc.root)
    assert (main.call, main.in_other_call) == (None, found)


@pytest.mark.parametrize(("words", "known"), [("=4I", False), ("=4Q", True)])
def test_calls_of_a_32_bit_program_have_other_numbers(proc, words, known):
    """The 3 of read there is close here, and none of its waits is one that we know."""
    proc(233, b"old", wchan="sk_wait_data", syscall="45 0x7 0 0 0 0 0 0 0")
    (proc.root / str(PID) / "auxv").write_bytes(struct.pack(words, 16, 0x1F8BFBFF, 6, 4_096))
    (thread,) = read_threads(PID, proc.root)
    assert (thread.call is not None, thread.call_readable) == (known, known)


def test_what_may_not_be_read_is_not_known(proc):
    """Yama, gVisor: no call, no kernel function, no time."""
    proc(233, b"main")
    (main,) = read_threads(PID, proc.root)
    assert (main.call, main.call_readable, main.wchan, main.last_ran_ms) == (None, False, "", None)
    assert read_threads(9_999, proc.root) == []


def test_how_long_a_thread_has_not_run_is_read_from_the_scheduler():
    """Against this process's own clock: a thread that waits for an event."""
    stop, begun = threading.Event(), []

    def wait():
        begun.append((threading.get_native_id(), time.monotonic()))
        stop.wait()

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    ((tid, since),) = begun
    (one,) = [t for t in read_threads(os.getpid()) if t.tid == tid]
    allowed = os.sched_getaffinity(0)
    idle = idle_times_ms([one])
    waited_ms = (time.monotonic() - since) * 1e3
    stop.set()
    waiting.join()
    assert os.sched_getaffinity(0) == allowed
    if one.last_ran_ms is None:
        pytest.skip("this kernel shows no /proc/PID/sched")
    assert waited_ms - 100 <= idle[tid] <= waited_ms + 20
