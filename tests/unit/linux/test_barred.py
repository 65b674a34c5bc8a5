"""Who has held a reader up is not read again for a while."""

from __future__ import annotations

import os

import pytest

from xctl_probe.linux import barred as module
from xctl_probe.linux.barred import Barred

MINUTE_NS = 60_000_000_000


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_ns = 7_000

    monkeypatch.setattr(module.time, "monotonic_ns", lambda: Clock.now_ns)
    return Clock


def test_a_user_is_barred_as_a_whole(clock):
    barred = Barred()
    assert barred.is_empty
    barred.add(1, 1_009)
    assert not barred.is_empty
    assert [barred.covers(*who) for who in ((1, 1_009), (2, 1_009), (3, 1_013))] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_of_root_and_of_one_s_own_processes_only_that_one_is(clock, uid):
    """An attacker is another user; without the others there is nothing to observe."""
    barred = Barred()
    barred.add(4, uid)
    assert barred.covers(4, uid)
    assert not barred.covers(5, uid)


def test_it_lasts_a_minute_and_longer_each_time(clock):
    barred = Barred()
    for minutes in (1, 2, 4):
        barred.add(1, 1_009)
        clock.now_ns += minutes * MINUTE_NS - 1
        assert barred.covers(1, 1_009)
        clock.now_ns += 1
        assert not barred.covers(1, 1_009)
