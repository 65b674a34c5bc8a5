"""The processes with series of their own: few, the largest, and no change without a reason."""

from __future__ import annotations

from xctl_probe.events import Process
from xctl_probe.prometheus.top_processes import TopProcesses

A, B, C, D = (Process(pid, 7, "x") for pid in (233, 239, 241, 251))


def rank(top, **amounts):
    named = {"a": A, "b": B, "c": C, "d": D}
    top.rank({(named[n].pid, named[n].start_ticks): count for n, count in amounts.items()})
    return [one for one in (A, B, C, D) if one in top]


def test_the_largest_have_the_places():
    assert rank(TopProcesses(2), a=7, b=1_009, c=11, d=2_003) == [B, D]


def test_a_place_changes_hands_only_for_twice_as_much():
    top = TopProcesses(1)
    assert rank(top, a=1_000) == [A]
    assert rank(top, b=1_900) == [A]
    assert rank(top, b=1_900) == [B]


def test_a_process_that_does_nothing_more_leaves_its_place():
    top = TopProcesses(1)
    assert rank(top, a=1_000) == [A]
    for _ in range(34):
        rank(top)
    assert rank(top, b=1_100) == [B]


def test_candidates_are_bounded():
    top = TopProcesses(2)
    top.rank({(pid, 7): pid for pid in range(1, 20_000)})
    assert len(top._sums) == 8
    assert len(top._places) == 2


def test_nothing_has_no_place():
    assert rank(TopProcesses(3), a=0) == []
