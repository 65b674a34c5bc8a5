"""What was used lately stays, and what belongs to a process that lives."""

from __future__ import annotations

import os

from xctl_probe.linux.procfs import read_process
from xctl_probe.prometheus.presence import AFTER_NS, LastUsed, is_alive, keep


def test_a_pid_that_is_used_again_is_not_the_process():
    here = read_process(os.getpid())
    assert is_alive((here.pid, here.start_ticks))
    assert not is_alive((here.pid, here.start_ticks + 1))
    assert not is_alive((2**22 + 1, 1))


def test_keys_go_ten_minutes_after_their_last_use():
    used = LastUsed()
    used.note("a", 0)
    used.note("b", 1)
    used.note("a", 2)
    assert used.unused(AFTER_NS, 7) == []
    assert used.unused(AFTER_NS + 1, 7) == ["b"]
    assert used.unused(AFTER_NS + 2, 7) == ["a"]
    assert len(used) == 0


def test_one_call_returns_a_bounded_number():
    used = LastUsed()
    for number in range(7):
        used.note(number, 0)
    assert [used.unused(AFTER_NS, 3) for _ in range(4)] == [[0, 1, 2], [3, 4, 5], [6], []]


def test_of_many_processes_the_latest_are_kept():
    processes = []
    for number in (*range(11), 10, 9):
        keep(processes, (number, 7))
    assert processes == [(number, 7) for number in range(3, 11)]
