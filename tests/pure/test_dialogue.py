"""The evidence for an answer: how often there was one."""

from __future__ import annotations

import pytest

from xctl_probe.dialogue import ANSWERED_PER_SLIP, Dialogue, Endpoints


@pytest.mark.parametrize(
    ("answered", "unanswered", "expects", "one_way"),
    [
        (0, 0, False, False),
        (1, 0, True, False),
        (0, 1, False, True),
        (1, 1, False, True),
        (7, 1, False, True),
        (8, 1, True, False),
        (15, 2, False, True),
        (16, 2, True, False),
        (1_009, 0, True, False),
    ],
)
def test_an_answer_is_expected_where_there_mostly_was_one(answered, unanswered, expects, one_way):
    """One answer is enough; one slip needs eight of them; nothing known means neither."""
    dialogue = Dialogue(answered, unanswered)
    assert dialogue.expects_reply() is expects
    assert dialogue.one_way() is one_way
    assert ANSWERED_PER_SLIP == 8


def test_an_endpoint_is_its_address_and_port():
    """The same dialogue for the same two, another for each other."""
    endpoints = Endpoints()
    endpoints.of("10.0.0.7", 5_437).answered += 1
    assert endpoints.of("10.0.0.7", 5_437) == Dialogue(1, 0)
    assert endpoints.of("10.0.0.7", 5_441) == Dialogue()
    assert endpoints.of("10.0.0.11", 5_437) == Dialogue()


def test_the_endpoint_not_heard_of_for_longest_is_forgotten():
    """Memory is bounded: the fourth of three goes in for the one least recently asked for."""
    endpoints = Endpoints(capacity=3)
    for port in (2, 3, 5):
        endpoints.of("10.0.0.7", port).answered = port
    endpoints.of("10.0.0.7", 2)
    endpoints.of("10.0.0.7", 7).answered = 7
    kept = {port: endpoints.of("10.0.0.7", port).answered for port in (2, 5, 7)}
    assert kept == {2: 2, 5: 5, 7: 7}
    assert endpoints.of("10.0.0.7", 3) == Dialogue()


def test_a_dialogue_in_use_outlives_its_place():
    """A connection keeps what it was given, though its endpoint has been forgotten."""
    endpoints = Endpoints(capacity=1)
    mine = endpoints.of("10.0.0.7", 2)
    endpoints.of("10.0.0.7", 3)
    mine.answered = 11
    assert mine.expects_reply()


def test_late_answers_become_usual():
    """Ten stalls' length makes a long wait, three of them make a habit, up to twice the longest."""
    dialogue = Dialogue()
    for wait_ns in (1_000, 999, 7_000):
        dialogue.came_after(wait_ns, 100)
    assert not dialogue.is_usual(1_000)
    dialogue.came_after(1_009, 100)
    assert (dialogue.long_waits, dialogue.longest_ns) == (3, 7_000)
    assert dialogue.is_usual(14_000)
    assert not dialogue.is_usual(14_001)


def test_the_same_address_in_another_namespace_is_another_endpoint():
    """Every container has its 127.0.0.1."""
    endpoints = Endpoints()
    endpoints.of("127.0.0.1", 5_437, 3).answered += 1
    assert endpoints.of("127.0.0.1", 5_437, 5) == Dialogue()
