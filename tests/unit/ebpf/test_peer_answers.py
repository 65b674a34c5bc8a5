"""What a peer sends on a process's other connections, while one of them waits."""

from __future__ import annotations

import pytest

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.ebpf.peer_answers import DrainedAnswers

S = 1_000_000_000
EMPTY = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)
WAIT = EMPTY._replace(pid=23, start_ticks=5, remote_address=b"p" * 16, remote_port=7, cookie=11)
OTHER = WAIT._replace(cookie=12)


LASTS = WAIT._replace(time_ns=14 * S, span_ns=4 * S)


def drained(answers, *drains):
    """Each of `drains` has the connections that got data in it, and when, in seconds."""
    for traffic in drains:
        asked = answers.ask()
        answers.note(
            [one._replace(time_ns=int(at * S)) for one, at in traffic.items() if one.pid in asked]
        )
        answers.want([WAIT, OTHER])


@pytest.fixture
def answers():
    answers = DrainedAnswers()
    answers.want([WAIT])
    return answers


@pytest.mark.parametrize(("at", "since"), [(10, False), (10.1, True), (13, True)])
def test_data_counts_from_when_it_came(answers, at, since):
    assert answers.ask() == {23}
    drained(answers, {}, {}, {OTHER: at})
    assert answers.came_since(LASTS) is since
    assert answers.came_lately(LASTS)


@pytest.mark.parametrize(("at", "lately"), [(9, False), (9.1, True)])
def test_a_peer_that_answers_every_few_seconds_will_be_asked_again(answers, at, lately):
    drained(answers, {OTHER: at})
    assert not answers.came_since(LASTS)
    assert answers.came_lately(LASTS) is lately


def test_a_connection_that_waits_itself_has_no_answer_now(answers):
    """Though it may have had one since the other wait began."""
    drained(answers, {OTHER: 11})
    answers.begin_sample([LASTS, OTHER])
    assert answers.came_since(LASTS)
    assert not answers.came_lately(LASTS)


def test_data_of_the_wait_itself_is_no_other_connections(answers):
    drained(answers, {WAIT: 11}, {WAIT: 12})
    assert not answers.came_since(LASTS)
    assert not answers.came_lately(LASTS)


def test_of_many_connections_those_with_the_last_data_count(answers):
    old = {WAIT._replace(cookie=cookie): 1 for cookie in range(13, 97)}
    drained(answers, {OTHER: 11}, old)
    assert answers.came_since(LASTS)


@pytest.mark.parametrize(
    "other",
    [
        {"pid": 29}, {"start_ticks": 6}, {"remote_port": 8}, {"remote_address": b"q" * 16},
        {"netns": 3},
    ],
)  # fmt: skip
def test_another_process_peer_or_port_is_another(answers, other):
    drained(answers, {OTHER._replace(**other): 11})
    assert not answers.came_since(LASTS)
    assert not answers.came_lately(LASTS)


def test_what_waits_no_more_is_known_until_the_drain_after_the_next(answers):
    """A wait that is just over is decided by the next one."""
    assert answers.ask() == {23}
    answers.note([OTHER._replace(time_ns=11 * S)])
    answers.want([])
    assert answers.ask() == {23}
    assert answers.was_asked(WAIT)
    assert answers.came_since(LASTS)
    answers.note([])
    assert answers.ask() == set()
    assert not answers.was_asked(WAIT)
    answers.note([])
    assert not answers.came_since(LASTS)
