"""Exits of real processes, with a descriptor each and without."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time

import pytest

from xctl_probe.events import Process
from xctl_probe.linux.process_exits import ProcessExits
from xctl_probe.linux.procfs import read_process


@pytest.fixture
def sleeper():
    """Start a process that does nothing; all are gone afterwards."""
    started = []

    def start():
        child = subprocess.Popen(["sleep", "1000"])
        started.append(child)
        return child, read_process(child.pid)

    yield start
    for child in started:
        child.kill()
        child.wait()


@pytest.fixture(params=[16, 0], ids=["descriptors", "turns"])
def exits(request):
    made = ProcessExits(most=request.param)
    yield made
    made.close()


def until_ended(exits):
    until = time.monotonic() + 60
    while not (found := exits.ended()):
        assert time.monotonic() < until
        time.sleep(0.001)
    return found


def test_a_process_that_exits_is_reported_once(exits, sleeper):
    (first, one), (_, other) = sleeper(), sleeper()
    exits.watch(one)
    exits.watch(other)
    assert exits.ended() == []
    first.kill()  # and not waited for: a zombie has exited, too
    assert until_ended(exits) == [one]
    assert exits.ended() == []


def test_a_process_has_not_exited_because_descriptors_ran_out(exits, sleeper):
    child, one = sleeper()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        exits.watch(one)
        assert exits.ended() == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    child.kill()
    assert until_ended(exits) == [one]


def test_a_stopped_process_has_not_exited(exits, sleeper):
    child, one = sleeper()
    exits.watch(one)
    child.send_signal(signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    assert exits.ended() == []


@pytest.mark.parametrize("offset", [1, -1])
def test_a_pid_that_is_used_again_has_exited(exits, sleeper, offset):
    _, one = sleeper()
    former = Process(one.pid, one.start_ticks + offset, one.comm)
    exits.watch(former)
    assert exits.ended() == [former]
    assert exits.ended() == []


def test_a_process_that_is_gone_has_exited(exits, sleeper):
    child, one = sleeper()
    child.kill()
    child.wait()
    exits.watch(one)
    assert exits.ended() == [one]


def test_without_descriptors_left_processes_are_read_in_turns(sleeper):
    """Sixteen at once; the last of forty is read by the third call."""
    exits = ProcessExits(most=0)
    child, one = sleeper()
    others = [Process(one.pid, one.start_ticks, str(number)) for number in range(39)]
    for process in (*others, one):
        exits.watch(process)
    assert exits.ended() == []
    child.kill()
    child.wait()
    found = [exits.ended() for _ in range(3)]
    assert [len(some) for some in found] == [16, 16, 8]
    assert one in found[1]


def test_of_many_a_share_is_read_at_once(sleeper):
    """All ranks of a job die together: not one after another for minutes."""
    exits = ProcessExits(most=0)
    child, one = sleeper()
    for number in range(400):
        exits.watch(Process(one.pid, one.start_ticks, str(number)))
    child.kill()
    child.wait()
    assert sum(len(exits.ended()) for _ in range(9)) > 350


def test_a_descriptor_that_becomes_free_is_used(sleeper):
    exits = ProcessExits(most=1)
    (first, one), (second, other) = sleeper(), sleeper()
    exits.watch(one)
    exits.watch(other)
    first.kill()
    assert until_ended(exits) == [one]
    exits.ended()
    second.kill()
    assert until_ended(exits) == [other]
    assert not exits._turns
    exits.close()


def test_no_more_than_a_quarter_of_the_descriptors_is_taken(monkeypatch, sleeper):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    before = len(os.listdir("/proc/self/fd"))
    exits = ProcessExits()
    found = [sleeper()[1] for _ in range(5)]
    for process in found:
        exits.watch(process)
    assert len(os.listdir("/proc/self/fd")) == before + 3  # two processes, and the epoll instance
    exits.close()
    assert len(os.listdir("/proc/self/fd")) == before
    exits.close()
