"""Whom they all wait for: chains, cycles, several culprits, and trails that leave the host."""

from __future__ import annotations

import random

import pytest

from xctl_probe.commands.blame.graph import Graph, Member, Outside, Wait
from xctl_probe.events import Cause, Direction, PeerActivity, Process

THERE = Outside("10.0.0.11")


def member(pid, activity=None):
    return Member(Process(pid, 7_001, f"c{pid}"), activity)


def wait(waiter, target, ms=1_301.0, certain=True):
    remote = f"{THERE.address}:6379"
    return Wait(
        waiter, target, ms, Direction.RECEIVE, Cause.NO_REPLY, "10.0.0.7:40009", remote, certain
    )


def graph(*pairs, stopped=(), alone=()):
    pids = {node for pair in pairs for node in pair if isinstance(node, int)} | {*alone}
    held = dict.fromkeys(stopped, PeerActivity.STOPPED)
    members = {pid: member(pid, held.get(pid)) for pid in pids}
    return Graph(members, tuple(wait(*pair) for pair in pairs))


def culprits(*pairs, **options):
    return [(one.members, one.waiters) for one in graph(*pairs, **options).culprits]


def test_the_end_of_a_chain_is_the_culprit_and_all_others_wait_for_it():
    assert culprits((1, 2), (2, 3), (3, 5)) == [((5,), {1, 2, 3})]


def test_all_ranks_wait_for_one():
    assert culprits((1, 3), (2, 3), (5, 3)) == [((3,), {1, 2, 5})]


def test_ranks_that_wait_for_each_other_wait_for_the_one_that_waits_for_none():
    """In a collective every rank waits for all others; a cycle with a way out is no dead-lock."""
    assert culprits((1, 2), (2, 1), (1, 3), (2, 3)) == [((3,), {1, 2})]


def test_a_stopped_process_waits_for_none_whatever_it_waited_for():
    assert culprits((1, 2), (2, 1), stopped=[2]) == [((2,), {1})]
    assert culprits((1, 2), (2, 3), (3, 1), stopped=[3]) == [((3,), {1, 2})]


def test_the_trail_stops_where_it_leaves_the_host():
    assert culprits((1, 2), (2, THERE)) == [((THERE,), {1, 2})]


def test_several_culprits_come_by_the_number_that_waits():
    found = culprits((1, 2), (3, 5), (7, 5), (11, THERE))
    assert found == [((5,), {3, 7}), ((2,), {1}), ((THERE,), {11})]


def test_a_process_that_waits_for_two_counts_for_both():
    assert culprits((1, 2), (1, 3)) == [((2,), {1}), ((3,), {1})]


def test_a_process_without_waits_is_no_culprit():
    assert culprits((1, 2), alone=[3]) == [((2,), {1})]


def test_two_that_wait_for_each_other_are_a_dead_lock():
    (found,) = graph((1, 2), (2, 1)).culprits
    assert (found.cycle, found.waiters) == ((1, 2), frozenset())


def test_a_process_may_wait_for_itself():
    (found,) = graph((1, 1)).culprits
    assert (found.members, found.cycle) == ((1,), (1,))


def test_a_dead_lock_is_in_the_order_of_the_waits_and_has_waiters():
    (found,) = graph((1, 7), (7, 3), (3, 5), (5, 7)).culprits
    assert found.cycle == (3, 5, 7)
    assert found.waiters == {1}


def test_a_dead_lock_of_many_shows_a_shortest_cycle():
    (found,) = graph((1, 2), (2, 3), (3, 1), (2, 1)).culprits
    assert found.cycle == (1, 2)
    assert {*found.members} == {1, 2, 3}


def test_a_guess_on_the_way_makes_the_answer_probable():
    members = {pid: member(pid) for pid in (1, 2, 3)}
    sure = Graph(members, (wait(1, 2), wait(2, 3)))
    guess = Graph(members, (wait(1, 2), wait(2, 3, certain=False)))
    assert [one.certain for one in (*sure.culprits, *guess.culprits)] == [True, False]


def test_a_part_has_what_its_processes_wait_for_and_no_more():
    part = graph((1, 2), (2, 3), (5, 3), (7, THERE)).part([1])
    assert part.members.keys() == {1, 2, 3}
    assert [(one.members, one.waiters) for one in part.culprits] == [((3,), {1, 2})]


def test_roots_are_those_that_none_waits_for_and_one_of_each_cycle():
    assert graph((1, 2), (5, 2), (2, 3)).roots == [1, 5]
    assert graph((1, 2), (2, 1), (3, 5), (5, 3), (7, 3)).roots == [7, 1]


def test_a_long_chain_needs_no_recursion():
    count = 20_011
    (found,) = graph(*((pid, pid + 1) for pid in range(1, count))).culprits
    assert found.members == (count,)
    assert len(found.waiters) == count - 1


@pytest.mark.parametrize("seed", range(23))
def test_a_culprit_is_reached_by_its_waiters_and_waits_for_none_else(seed):
    """Against the definition, on graphs at random."""
    chance = random.Random(seed)
    nodes = range(1, 14)
    pairs = {(chance.choice(nodes), chance.choice(nodes)) for _ in range(chance.randrange(1, 29))}
    one = graph(*pairs)
    reach = {node: one.reachable([node]) for node in one.targets}
    last = {
        frozenset(reach[node])
        for node in one.targets
        if all(node in reach[other] for other in reach[node])
    }
    expected = {}
    for group in last:
        waiters = {node for node in reach if reach[node] & group} - group
        if waiters or any(node in one.targets[node] for node in group) or len(group) > 1:
            expected[group] = waiters
    assert {frozenset(found.members): found.waiters for found in one.culprits} == expected
    for found in one.culprits:
        following = (*found.cycle[1:], *found.cycle[:1])
        for waiter, target in zip(found.cycle, following, strict=True):
            assert target in one.targets[waiter]
