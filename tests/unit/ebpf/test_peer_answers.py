"""What a peer sends on a process's other connections, while one of them waits."""

from __future__ import annotations

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.ebpf.peer_answers import DrainedAnswers

S = 1_000_000_000
EMPTY = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)
WAIT = EMPTY._replace(pid=23, start_ticks=5, remote_address=b"p" * 16, remote_port=7, cookie=11)
OTHER = WAIT._replace(cookie=12)


def drained(answers, *drains):
    """Drain every second; `drains` has what has come on which connections in each."""
    for second, traffic in enumerate(drains, 1):
        answers.note(traffic, second * S)


def test_data_counts_from_the_drain_before_it():
    """When in between it came is not known, so the earliest time counts."""
    answers = DrainedAnswers()
    answers.want([WAIT])
    assert answers.pids == {23}
    drained(answers, [], [], [OTHER])
    assert answers.last_ns(WAIT) == 2 * S


def test_data_of_the_wait_itself_is_no_other_connections():
    answers = DrainedAnswers()
    answers.want([WAIT])
    drained(answers, [], [WAIT], [WAIT])
    assert answers.last_ns(WAIT) == 0
    drained(answers, [])


def test_two_connections_that_wait_do_not_hide_each_other():
    answers = DrainedAnswers()
    answers.want([WAIT, OTHER])
    drained(answers, [], [OTHER], [WAIT], [], [WAIT])
    assert (answers.last_ns(WAIT), answers.last_ns(OTHER)) == (1 * S, 4 * S)


def test_another_process_peer_or_port_is_another():
    answers = DrainedAnswers()
    answers.want([WAIT])
    strangers = [
        OTHER._replace(pid=29), OTHER._replace(start_ticks=6), OTHER._replace(remote_port=8),
        OTHER._replace(remote_address=b"q" * 16), OTHER._replace(netns=3),
    ]  # fmt: skip
    drained(answers, [], [], strangers)
    assert answers.last_ns(WAIT) == 0


def test_what_waits_no_more_is_forgotten():
    answers = DrainedAnswers()
    answers.want([WAIT])
    drained(answers, [], [], [OTHER])
    answers.want([])
    assert answers.pids == set()
    answers.want([WAIT])
    assert answers.last_ns(WAIT) == 0
