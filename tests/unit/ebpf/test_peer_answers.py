"""What a peer sends on a process's other connections, while one of them waits."""

from __future__ import annotations

import pytest

from xctl_probe.ebpf import peer_answers
from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.ebpf.peer_answers import DrainedAnswers

S = 1_000_000_000
EMPTY = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)
WAIT = EMPTY._replace(pid=23, start_ticks=5, remote_address=b"p" * 16, remote_port=7, cookie=11)
OTHER = WAIT._replace(cookie=12)


LASTS = WAIT._replace(time_ns=14 * S, span_ns=4 * S)


LASTS = WAIT._replace(time_ns=14 * S, span_ns=4 * S)


class Asked:
    """As `AskedProcesses`, with room for so many processes."""

    def __init__(self, room=99):
        self.room, self.pids = room, set()

    def ask(self, pids):
        self.pids = set(sorted(pids)[: self.room])
        return self.pids


def drained(answers, *drains):
    """Each of `drains` has the connections that got data in it, and when, in seconds."""
    asked = Asked()
    for traffic in drains:
        answers.ask(asked)
        answers.note(
            one._replace(time_ns=int(at * S))
            for one, at in traffic.items()
            if one.pid in asked.pids
        )
        for wait in (WAIT, OTHER):
            answers.want(wait)
    answers.begin_sample(set(), is_drain=True)


@pytest.fixture
def answers():
    answers = DrainedAnswers(S // 10)
    answers.want(WAIT)
    return answers


@pytest.mark.parametrize(("at", "since"), [(10, False), (10.05, False), (10.1, True), (13, True)])
def test_data_counts_from_when_it_came(answers, at, since):
    """The begin of the wait is exact to half a stall length."""
    drained(answers, {}, {}, {OTHER: at})
    assert answers.came_since(LASTS) is since
    assert answers.came_lately(LASTS)


@pytest.mark.parametrize(("at", "lately"), [(9, False), (9.1, True)])
def test_a_peer_that_answers_every_few_seconds_will_be_asked_again(answers, at, lately):
    drained(answers, {OTHER: at})
    assert not answers.came_since(LASTS)
    assert answers.came_lately(LASTS) is lately


@pytest.mark.parametrize(("at", "lately"), [(9, None), (9.1, True)])
def test_between_two_drains_it_is_not_known_that_none_came(answers, at, lately):
    drained(answers, {OTHER: at})
    answers.begin_sample(set(), is_drain=False)
    assert answers.came_lately(LASTS) is lately


def test_a_connection_whose_own_reply_is_late_has_no_answer_now(answers):
    """Though it may have had one since the other wait began."""
    drained(answers, {OTHER: 11})
    answers.begin_sample({LASTS.cookie, OTHER.cookie}, is_drain=True)
    assert answers.came_since(LASTS)
    assert answers.came_lately(LASTS) is False


def test_data_of_the_wait_itself_is_no_other_connections(answers):
    drained(answers, {WAIT: 11}, {WAIT: 12})
    assert not answers.came_since(LASTS)
    assert answers.came_lately(LASTS) is False


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
    assert answers.came_lately(LASTS) is False


def test_what_waits_no_more_is_known_until_the_drain_after_the_next(answers):
    """A wait that is just over is decided by the next one."""
    asked = Asked()
    answers.ask(asked)
    answers.note([OTHER._replace(time_ns=11 * S)])
    answers.ask(asked)
    assert asked.pids == {23}
    assert answers.was_asked(WAIT)
    assert answers.came_since(LASTS)
    answers.note([])
    answers.ask(asked)
    assert asked.pids == set()
    assert not answers.was_asked(WAIT)
    answers.note([])
    assert not answers.came_since(LASTS)


def test_a_process_for_which_the_kernel_has_no_room_was_not_asked_about(answers):
    answers.want(WAIT._replace(pid=19))
    answers.ask(Asked(room=1))
    assert answers.was_asked(WAIT._replace(pid=19))
    assert not answers.was_asked(WAIT)


def test_no_user_takes_the_room_of_another(answers, monkeypatch):
    """Of processes that are asked about, nor of what is remembered."""
    monkeypatch.setattr(peer_answers, "MOST_ASKED", 4)
    asked = Asked()
    for pid in range(100, 109):
        assert answers.want(WAIT._replace(pid=pid, uid=5))
    answers.ask(asked)
    assert WAIT.pid in asked.pids
    assert len(asked.pids) == 4
    pids = set()
    for _ in range(5):  # each gets its turn
        for pid in range(100, 109):
            answers.want(WAIT._replace(pid=pid, uid=5))
        answers.ask(asked)
        pids |= asked.pids
        answers.note([])
    assert pids >= set(range(100, 109))

    monkeypatch.setattr(peer_answers, "_MOST", 4)
    answers.note([])
    wanted = [answers.want(WAIT._replace(pid=pid, uid=5)) for pid in range(100, 109)]
    assert wanted == [True] * 2 + [False] * 7
    assert answers.want(WAIT)
