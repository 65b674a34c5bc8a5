"""What a peer sends on a process's other connections, while one of them waits."""

from __future__ import annotations

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.ebpf.peer_answers import DrainedAnswers

S = 1_000_000_000
EMPTY = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)
WAIT = EMPTY._replace(pid=23, start_ticks=5, remote_address=b"p" * 16, remote_port=7, cookie=11)
OTHER = WAIT._replace(cookie=12)


def drained(answers, *drains):
    """Each of `drains` has the connections that got data in it, and when, in seconds."""
    for traffic in drains:
        asked = answers.ask()
        answers.note(
            [one._replace(time_ns=at * S) for one, at in traffic.items() if one.pid in asked]
        )
        answers.want([WAIT, OTHER])


def test_data_counts_from_when_it_came():
    answers = DrainedAnswers()
    answers.want([WAIT])
    assert answers.ask() == {23}
    drained(answers, {}, {}, {OTHER: 3})
    assert answers.last_ns(WAIT) == 3 * S


def test_data_of_the_wait_itself_is_no_other_connections():
    answers = DrainedAnswers()
    answers.want([WAIT])
    drained(answers, {WAIT: 2}, {WAIT: 3})
    assert answers.last_ns(WAIT) == 0


def test_two_connections_that_wait_do_not_hide_each_other():
    answers = DrainedAnswers()
    answers.want([WAIT, OTHER])
    drained(answers, {OTHER: 2}, {WAIT: 3}, {WAIT: 5, OTHER: 4})
    assert (answers.last_ns(WAIT), answers.last_ns(OTHER)) == (4 * S, 5 * S)


def test_of_many_connections_the_last_one_counts():
    answers = DrainedAnswers()
    answers.want([WAIT])
    others = {WAIT._replace(cookie=cookie): 40 - cookie for cookie in range(12, 24)}
    drained(answers, {WAIT: 30}, others)
    assert answers.last_ns(WAIT) == 28 * S
    assert answers.last_ns(WAIT._replace(cookie=12)) == 30 * S


def test_another_process_peer_or_port_is_another():
    answers = DrainedAnswers()
    answers.want([WAIT])
    strangers = [
        OTHER._replace(pid=29), OTHER._replace(start_ticks=6), OTHER._replace(remote_port=8),
        OTHER._replace(remote_address=b"q" * 16), OTHER._replace(netns=3),
    ]  # fmt: skip
    drained(answers, dict.fromkeys(strangers, 3))
    assert answers.last_ns(WAIT) == 0


def test_what_waits_no_more_is_known_until_the_drain_after_the_next():
    """A wait that is just over is decided by the next one."""
    answers = DrainedAnswers()
    answers.want([WAIT])
    assert answers.ask() == {23}
    answers.note([OTHER._replace(time_ns=2 * S)])
    answers.want([])
    assert (answers.ask(), answers.last_ns(WAIT)) == ({23}, 2 * S)
    assert answers.was_asked(WAIT)
    answers.note([])
    assert (answers.ask(), answers.last_ns(WAIT)) == (set(), 0)
    assert not answers.was_asked(WAIT)
