"""The evidence for an answer: how often there was one."""

from __future__ import annotations

import pytest

from xctl_probe.stalls.request_history import (
    ANSWERED_PER_SLIP,
    Histories,
    PeerHistory,
    RequestHistory,
    Usual,
)


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
    history = RequestHistory(answered, unanswered)
    assert history.expects_reply() is expects
    assert history.one_way() is one_way
    assert ANSWERED_PER_SLIP == 8


def test_an_endpoint_is_its_address_and_port():
    """The same history for the same two, another for each other."""
    endpoints = PeerHistory()
    endpoints.of("10.0.0.7", 5_437).answered += 1
    assert endpoints.of("10.0.0.7", 5_437) == RequestHistory(1, 0)
    assert endpoints.of("10.0.0.7", 5_441) == RequestHistory()
    assert endpoints.of("10.0.0.11", 5_437) == RequestHistory()


def test_the_endpoint_not_heard_of_for_longest_is_forgotten():
    """Memory is bounded: the fourth of three goes in for the one least recently asked for."""
    endpoints = PeerHistory(capacity=3)
    for port in (2, 3, 5):
        endpoints.of("10.0.0.7", port).answered = port
    endpoints.of("10.0.0.7", 2)
    endpoints.of("10.0.0.7", 7).answered = 7
    kept = {port: endpoints.of("10.0.0.7", port).answered for port in (2, 5, 7)}
    assert kept == {2: 2, 5: 5, 7: 7}
    assert endpoints.of("10.0.0.7", 3) == RequestHistory()


def test_a_history_in_use_outlives_its_place():
    """A connection keeps what it was given, though its endpoint has been forgotten."""
    endpoints = PeerHistory(capacity=1)
    mine = endpoints.of("10.0.0.7", 2)
    endpoints.of("10.0.0.7", 3)
    mine.answered = 11
    assert mine.expects_reply()


def test_late_answers_become_usual():
    """Ten stalls' length makes a long wait, three of them make a habit, up to twice the longest."""
    history = RequestHistory()
    for end_ns, wait_ns in ((1_000, 1_000), (2_009, 999), (9_013, 7_000)):
        history.record_latency(wait_ns, 100, end_ns)
    assert not history.is_within_usual_latency(1_000)
    history.record_latency(1_009, 100, 10_061)
    assert (history.long_waits, history.longest_ns) == (3, 7_000)
    assert history.is_within_usual_latency(14_000)
    assert not history.is_within_usual_latency(14_001)


def test_a_server_that_is_late_once_for_all_its_clients_is_not_usually_late():
    """What is over within a second counts once, on the connections as well as for their peer."""
    history = RequestHistory()
    for client in range(5):
        history.record_latency(11_000, 100, 20_000 + client)
    assert history.long_waits == 1
    assert not history.is_within_usual_latency(1_000)
    history.record_latency(11_000, 100, 20_999)
    assert history.long_waits == 1
    history.record_latency(11_000, 100, 21_000)
    history.record_latency(11_000, 100, 22_000)
    assert history.is_within_usual_latency(1_000)


def test_the_same_address_in_another_namespace_is_another_endpoint():
    """Every container has its 127.0.0.1."""
    endpoints = PeerHistory()
    endpoints.of("127.0.0.1", 5_437, 3).answered += 1
    assert endpoints.of("127.0.0.1", 5_437, 5) == RequestHistory()


def test_each_owner_has_a_past_of_its_own_with_a_peer():
    """A user, and where it is known the name of its program."""
    endpoints = PeerHistory()
    endpoints.of("10.0.0.7", 5_437, uid=3, comm=b"a").answered += 1
    assert endpoints.of("10.0.0.7", 5_437, uid=5, comm=b"a") == RequestHistory()
    assert endpoints.of("10.0.0.7", 5_437, uid=3, comm=b"b") == RequestHistory()
    assert endpoints.of("10.0.0.7", 5_437, uid=3, comm=b"a") == RequestHistory(1)


def test_a_user_with_peers_without_number_makes_no_other_user_forget():
    """Who has the most gives way, and of theirs what was not asked for longest."""
    dialogues = Histories(capacity=11)
    for key in range(3):
        dialogues.of(3, key).answered = 1
    for key in range(101):
        dialogues.of(5, key).answered = 1
    assert [dialogues.of(3, key).answered for key in range(3)] == [1] * 3
    assert [dialogues.of(5, key).answered for key in range(93, 101)] == [1] * 8
    assert dialogues.of(5, 92) == RequestHistory()


@pytest.mark.parametrize(
    ("answered", "late", "excused"),
    [(0, 0, True), (7, 0, True), (8, 0, False), (8, 1, False), (8, 2, True), (23, 23, True)],
)
def test_what_is_usual_of_the_peer_excuses_no_connection_with_prompt_answers(
    answered, late, excused
):
    """A worker's waits for its next job are long ones; a lookup beside it is answered at once."""
    usual = Usual(
        RequestHistory(answered, long_waits=late), RequestHistory(long_waits=3, longest_ns=1_009)
    )
    assert usual.is_within_usual_latency(1_009) is excused
    assert not usual.is_within_usual_latency(2_019)


def test_a_late_answer_is_one_of_the_connection_and_of_the_peer():
    here, peer = RequestHistory(), RequestHistory()
    Usual(here, peer).record_latency(1_009, 100, 2_003)
    assert (here.long_waits, peer.long_waits) == (1, 1)


@pytest.mark.parametrize(
    ("prompt_since", "wait_s", "usual"), [(0, 20, True), (0, 21, False), (1, 3, False)]
)
def test_a_wait_as_late_as_the_last_one_is_usual(prompt_since, wait_s, usual):
    """A worker that waits for its next job, again and again; not one late answer of many."""
    usually = Usual(RequestHistory(answered=5), RequestHistory())
    usually.record_latency(4_000_000_000, 100_000_000, 9_000_000_000)
    usually.here.answered += 1 + prompt_since
    assert usually.is_within_usual_latency(wait_s * 1_000_000_000) is usual


@pytest.mark.parametrize(("wait_s", "usual"), [(25, True), (26, False)])
def test_of_late_replies_in_a_row_the_longest_counts(wait_s, usual):
    """The next job of a worker may come sooner than the one before, and the one after later."""
    usually = Usual(RequestHistory(answered=5), RequestHistory())
    for late_s, end_s in ((5, 9), (3, 13)):
        usually.record_latency(late_s * 1_000_000_000, 100_000_000, end_s * 1_000_000_000)
        usually.here.answered += 1
    assert usually.is_within_usual_latency(wait_s * 1_000_000_000) is usual
