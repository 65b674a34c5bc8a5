"""Which threads are sampled where there are many, and what the process does then."""

from __future__ import annotations

import pytest
from support.fake_proc import FakeProcess

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.commands.profile.bound import bound_by
from xctl_probe.commands.profile.threads import ThreadSamples
from xctl_probe.commands.profile.turns import MOST_THREADS, Turns

NAMES = {35: "nanosleep", 45: "recvfrom"}
SLEEPS = "35 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n"
RECEIVES = "45 0x5 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n"
MANY = 200
PARENT, CHILD = 1_000, 5_000


@pytest.fixture
def made(tmp_path):
    """Make a process with many threads that sleep; its last one does `what`."""

    def make(pid, threads, what=SLEEPS):
        process = FakeProcess(tmp_path, pid)
        process.socket(5, 4_241)
        for tid in range(pid, pid + threads):
            process.thread(tid, syscall=SLEEPS)
            process.write(f"task/{tid}/stat", f"{tid} (a) S 1\n")
        process.thread(pid + threads - 1, syscall=what)
        (process.path / f"task/{pid + threads - 1}/fd").symlink_to("../../fd")
        return process

    return make


def sampled(process, *pids, times=40):
    samples = ThreadSamples(NAMES, process.root)
    for _ in range(times):
        samples.take(pids)
    return samples


def test_a_thread_that_runs_is_found_among_many_and_kept(made):
    found = sampled(made(PARENT, MANY, "running\n"), PARENT)
    assert found.moments[Activity.CPU] >= 36  # from its first turn on
    assert bound_by(found, 0.97, 0, 0).by == "cpu"


def test_a_thread_that_waits_for_the_network_counts_between_its_turns(made):
    found = sampled(made(PARENT, MANY, RECEIVES), PARENT)
    assert found.moments[Activity.NETWORK] >= 36


def test_a_child_has_as_many_turns_as_a_large_parent(made):
    process = made(PARENT, MANY)
    made(CHILD, 1, "running\n")
    assert sampled(process, PARENT, CHILD).moments == {Activity.CPU: 40}


def test_each_thread_has_its_turn_in_each_process_of_many(made, tmp_path):
    pids = range(PARENT, PARENT + 10 * MANY, 10)
    for pid in pids:
        made(pid, 2)
    turns = Turns(tmp_path)
    chosen = [turns.take(pids) for _ in range(8)]
    assert {len(threads) for threads in chosen} == {MOST_THREADS}
    assert {thread for threads in chosen for thread in threads} == {
        (pid, tid) for pid in pids for tid in (pid, pid + 1)
    }


def test_a_few_threads_are_sampled_each_time(made, tmp_path):
    made(PARENT, 3)
    turns = Turns(tmp_path)
    every = [(PARENT, PARENT + n) for n in range(3)]
    assert [sorted(turns.take([PARENT])) for _ in range(3)] == [every] * 3


def test_a_thread_that_ran_and_sleeps_now_comes_first(made, tmp_path):
    process = made(PARENT, MANY)
    last = PARENT + MANY - 1
    turns = Turns(tmp_path)
    for ran_ns in range(0, 40_000_000_000, 1_000_000_000):
        process.write(f"task/{last}/schedstat", f"{ran_ns} 0 1\n")
        chosen = turns.take([PARENT])
        for thread in chosen:
            turns.found(thread, Activity.SLEEP)
    assert chosen[0] == (PARENT, last)


def test_what_a_thread_did_is_forgotten_with_it(made, tmp_path):
    process = made(PARENT, MANY, RECEIVES)
    samples = sampled(process, PARENT)
    last = process.path / f"task/{PARENT + MANY - 1}"
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    before = samples.moments[Activity.SLEEP]
    for _ in range(40):
        samples.take([PARENT])
    assert samples.moments[Activity.SLEEP] - before >= 36


def test_what_was_counted_is_never_idle():
    """Samples that found no thread running, and the kernel's count of the whole process."""
    samples = ThreadSamples({})
    samples.moments[Activity.SLEEP] = 100
    assert bound_by(samples, 0.97, 0, 0).by == "cpu"


def test_threads_that_run_at_the_same_time_count_once():
    samples = ThreadSamples({}, running=80)
    samples.moments.update({Activity.CPU: 10, Activity.NETWORK: 90})
    assert bound_by(samples, 0.8, 0, 0).by == "network"
