"""A client that sends more without a reply: pings, retries, a second request, pieces of one."""

from __future__ import annotations

import time

import pytest
from integration.test_calls import (
    ANSWER,
    QUESTION,
    answered,
    assert_one_wait,
    connected,
    wait_until_over,
    wait_until_reported,
)

PING, EVERY_MS = 7, 250
PIECE = 1_009


def reported_before(running, client):
    """How many records there are of exchanges that are over: on a busy host, answered late."""
    running.wait_for_intervals(2)
    return len(running.consumer.stalls(pid=client.pid))


def assert_nothing_is_reported(running, client, intervals, before=0):
    """In so many intervals to come, nor since there were so many records."""
    running.wait_for_intervals(intervals)
    reported = running.stop().stalls(pid=client.pid)[before:]
    assert reported == [], [(r.stall_ms, r.net["cause"]) for r in reported]


def test_pings_into_a_cut_line_prove_nothing_about_who_answers(probe, worker, netns, backend):
    """What has not arrived cannot be answered: the one wait goes on, from the request."""
    running = probe("--min-bw", 0)
    server, client, identity = connected(worker)
    answered(server, client)
    running.wait_for_intervals(2)
    netns.drop_incoming(f"tcp dport {identity['remote'].rpartition(':')[2]}")
    client.ask("ask_aside", QUESTION, ANSWER)
    client.ask("drip", PING, EVERY_MS, 5)
    wait_until_reported(running, client)
    released_ns = time.monotonic_ns()
    netns.lose_nothing()
    server.ask("recv", QUESTION + 5 * PING)
    server.ask("send", ANSWER)
    truth = client.expect("answered") | {"released_ns": released_ns}
    consumer = wait_until_over(running, client)
    assert_one_wait(consumer, client, identity, truth, backend, {"loss", None})


def test_pings_while_the_peer_hangs_do_not_begin_the_wait_anew(probe, worker, backend):
    """In a conversation that was always answered, two sends more leave the evidence as it is."""
    running = probe("--min-bw", 0)
    server, client, identity = connected(worker)
    for _ in range(17):
        answered(server, client)
        running.wait_for_sample()  # so that a sampler sees each of them
    client.ask("ask_aside", QUESTION, ANSWER)
    client.ask("drip", PING, EVERY_MS, 2)
    wait_until_reported(running, client)
    released_ns = time.monotonic_ns()
    server.ask("recv", QUESTION + 2 * PING)
    server.ask("send", ANSWER)
    truth = client.expect("answered") | {"released_ns": released_ns}
    assert_one_wait(wait_until_over(running, client), client, identity, truth, backend)


def test_pongs_ask_for_nothing(probe, worker):
    """An idle connection whose server pings, and does something else between two pings."""
    running = probe("--min-bw", 0)
    server, client, _ = connected(worker)
    for _ in range(3):
        answered(server, client)
    before = reported_before(running, client)
    pings = 6
    client.begin("pong", PING, pings)
    for _ in range(pings):
        server.ask("nap", 3 * EVERY_MS)
        server.ask("send", PING)
        server.ask("recv", PING)
    client.expect("pong")
    assert_nothing_is_reported(running, client, intervals=2, before=before)


def test_a_request_after_a_ping_is_one(probe, worker):
    """Larger than a ping, it awaits an answer."""
    running = probe("--min-bw", 0)
    server, client, _ = connected(worker)
    for _ in range(3):
        answered(server, client)
    client.begin("pong", PING, 1)
    server.ask("nap", EVERY_MS)
    server.ask("send", PING)
    server.ask("recv", PING)
    client.expect("pong")
    running.wait_for_sample()  # between two samples it would not see which came last
    client.begin("ask", 10 * QUESTION, ANSWER)
    server.ask("recv", 10 * QUESTION)
    wait_until_reported(running, client)
    server.ask("send", ANSWER)
    client.expect("ask")


@pytest.mark.parametrize(("pieces", "every_ms"), [(3, 600), (13, 250)])
def test_a_wait_follows_an_upload_in_pieces(probe, worker, pieces, every_ms):
    """Each piece goes unanswered, and then the process sits in a receive for the answer."""
    running = probe("--min-bw", 0, "--reply-ms", 1_000)
    server, client, _ = connected(worker)
    server.begin("recv", PIECE * pieces)
    last_ns = client.ask("drip", PIECE, every_ms, pieces)["last_ns"]
    server.expect("recv")
    assert not running.consumer.stalls(pid=client.pid)
    client.begin("recv", ANSWER)
    wait_until_reported(running, client, 3)
    server.ask("send", ANSWER)
    client.expect("recv")
    since_last_ms = (time.monotonic_ns() - last_ns) / 1e6
    reported = wait_until_over(running, client).stalls(pid=client.pid)
    assert {(r.net["direction"], r.net["cause"]) for r in reported} == {("receive", "no_reply")}
    assert {r.net["tid"] for r in reported if r.ongoing} == {client.pid}
    assert [r.ongoing for r in reported].count(False) == 1
    assert max(r.stall_ms for r in reported) < since_last_ms + 50


def test_who_listens_and_pings_expects_nothing(probe, worker):
    """A subscriber: a thread is in a receive all the time, beside pings that get no answer."""
    running = probe("--min-bw", 0, "--reply-ms", 1_000)
    server, client, _ = connected(worker)
    answered(server, client)
    client.ask("ask_aside", QUESTION, 2 * ANSWER)
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    before = reported_before(running, client)
    client.ask("drip", PING, EVERY_MS, 6)
    server.ask("recv", 6 * PING)
    assert_nothing_is_reported(running, client, intervals=12, before=before)


def test_messages_without_a_reply_are_no_upload(probe, worker):
    """Heartbeats or subscriptions, and then the process sits in a receive for what may come."""
    running = probe("--min-bw", 0, "--reply-ms", 1_000)
    server, client, _ = connected(worker)
    client.ask("drip", 101, EVERY_MS, 6)
    server.ask("recv", 6 * 101)
    client.begin("recv", ANSWER)
    assert_nothing_is_reported(running, client, intervals=12)


def test_two_replies_that_are_read_at_once_leave_nothing_due(probe, worker):
    """The second request is sent while the reply to the first lies unread."""
    running = probe("--min-bw", 0, "--reply-ms", 1_000)
    server, client, _ = connected(worker)
    for _ in range(2):
        client.ask("send", QUESTION)
        server.ask("recv", QUESTION)
        server.ask("send", ANSWER)
        client.ask("nap", EVERY_MS)
    client.ask("recv", 2 * ANSWER)
    client.begin("recv", ANSWER)
    assert_nothing_is_reported(running, client, intervals=12)
