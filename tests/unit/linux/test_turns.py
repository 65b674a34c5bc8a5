"""Who was refused first is served first."""

from __future__ import annotations

import pytest

from xctl_probe.linux.turns import Turns

ACCOUNT = "own", 1_009


@pytest.fixture
def turns():
    return Turns()


def sample(turns, *asking, places):
    """One sample in which `asking` ask in this order; returns who is served."""
    turns.begin()
    served = []
    for who in asking:
        if turns.take(ACCOUNT, who, allowed=len(served) < places):
            served.append(who)
    return served


def test_without_a_refusal_all_are_served(turns):
    assert sample(turns, 233, 239, 241, places=3) == [233, 239, 241]


def test_who_asks_first_in_each_sample_is_not_served_in_each(turns):
    rounds = [sample(turns, 233, 239, 241, places=1) for _ in range(6)]
    assert rounds == [[233], [239], [241], [233], [239], [241]]


def test_who_was_served_is_served_again_in_the_sample(turns):
    """For another of its sockets: what was read of it is cached."""
    turns.begin()
    assert turns.take(ACCOUNT, 233, allowed=True)
    assert not turns.take(ACCOUNT, 239, allowed=False)
    assert turns.take(ACCOUNT, 233, allowed=False)
    assert turns.awaits(ACCOUNT, 239)
    assert not turns.awaits(ACCOUNT, 233)


def test_who_asks_no_more_loses_its_place(turns):
    sample(turns, 233, 239, places=1)
    assert sample(turns, 233, places=1) == []
    assert sample(turns, 233, places=1) == [233]


def test_accounts_have_turns_of_their_own(turns):
    sample(turns, 233, places=0)
    turns.begin()
    assert turns.take(("own", 1_013), 239, allowed=True)
    assert not turns.awaits(("own", 1_013), 233)
