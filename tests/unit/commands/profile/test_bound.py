"""What a process is bound by, and from which evidence."""

from __future__ import annotations

from collections import Counter

import pytest

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.commands.profile.bound import bound_by, shares
from xctl_probe.commands.profile.threads import ThreadSamples

CPU, MEMORY, IO, NETWORK, STOPPED, UNKNOWN, SLEEP = Activity
NONE = dict.fromkeys(Activity, 0)


def samples(**moments):
    found = ThreadSamples({})
    found.moments = Counter({Activity(name): count for name, count in moments.items()})
    found.waits = Counter({(NETWORK, "recvfrom (socket)"): 7, (NETWORK, "poll"): 3})
    return found


@pytest.mark.parametrize(
    ("moments", "ran", "memory_calls", "by"),
    [
        ({"network": 9, "cpu": 1}, 0.1, 0, "network"),
        ({"io": 7, "sleep": 3}, 0, 0, "io"),
        ({"cpu": 9, "network": 1}, 0.9, 0.1, "cpu"),
        ({"cpu": 9, "network": 1}, 0.9, 0.5, "memory"),
        ({"memory": 6, "cpu": 4}, 0.4, 0, "memory"),
        ({"network": 5, "cpu": 5}, 0.5, 0, "mixed"),
        ({"stopped": 9, "cpu": 1}, 0.1, 0, "stopped"),
        ({"unknown": 10}, 0, 0, "unknown"),
        ({"sleep": 10}, 0, 0, "idle"),
        ({}, 0, 0, "idle"),
    ],
)
def test_what_takes_most_of_the_time_is_the_answer(moments, ran, memory_calls, by):
    assert bound_by(samples(**moments), ran, memory_calls, 0).by == by


def test_the_reason_names_the_part_and_the_call():
    found = bound_by(samples(network=93, cpu=7), 0.07, 0, 0)
    assert found.reason == (
        "93 % of the time no thread ran, and one waited for the network, "
        "mostly in recvfrom (socket)"
    )


def test_a_wait_for_a_cpu_is_named_where_it_is_long():
    found = bound_by(samples(cpu=10), 1, 0, 0.25)
    assert found.reason == (
        "100 % of the time a thread ran, or was ready to; "
        "25 % of a thread's time in a queue for a CPU"
    )


def test_threads_that_wait_for_a_cpu_are_numbered():
    found = bound_by(samples(cpu=10), 4, 0, 2.96)
    assert found.reason.endswith("; 3.0 threads on average in a queue for a CPU")


def test_the_reason_names_what_stops_it():
    found = samples(stopped=10)
    found.waits = Counter({(STOPPED, "held by a debugger"): 3, (STOPPED, "stopped by a signal"): 7})
    assert bound_by(found, 0, 0, 0).reason == "100 % of the time it was stopped by a signal"


def test_samples_that_find_too_much_on_the_cpu_are_corrected():
    """The kernel has counted 4 %; the rest is as the other samples have it."""
    found = shares(samples(cpu=6, network=3, sleep=1), 0.04)
    assert found == pytest.approx(NONE | {CPU: 0.04, NETWORK: 0.72, SLEEP: 0.24})


def test_samples_that_find_nothing_else_leave_sleep():
    assert shares(samples(cpu=6), 0.25) == NONE | {CPU: 0.25, SLEEP: 0.75}
