"""Waits for a peer on another host, of which only its replies show anything."""

from __future__ import annotations

import time

import pytest
from support.conversation import ANSWER, QUESTION, connect

LATE_MS = 1_000  # more than an exchange takes on a busy host: the peer is late otherwise


@pytest.fixture
def linked(worker, distant):
    """A server on another host, a client, and by name the inodes of its two connections to it."""
    server, client = worker("links", namespace=distant), worker("links")
    port = server.ask("listen", "door", "10.23.29.2")["port"]
    inodes = {}
    for name in ("waiting", "asked"):
        inodes[name] = client.ask("connect", name, port, "10.23.29.2")["inode"]
        server.ask("accept", "door")
        server.ask("name", "door", name)
    return server, client, inodes


def test_a_transfer_to_an_event_loop_that_breaks_off_on_another_host(
    probe, worker, agrees, distant
):
    """Its last byte may have come."""
    running = probe()
    server, client = worker(namespace=distant), worker("evented")
    connect(server, client, "10.23.29.2")
    part, parts = 100_003, 149
    client.begin("recv", part * (parts + 1))
    server.ask("drip", part, 10, parts)
    running.wait_for_intervals(9)
    agrees("remote_transfer", running.stop().stalls(pid=client.pid))


def test_a_peer_on_another_host_that_answers_other_connections(probe, agrees, backend, linked):
    """What one of them has sent last may ask for nothing."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    server, client, inodes = linked
    # More than an answer of a busy host takes: such a one is a wait of `asked`, and in between its
    # peer does not seem to answer.
    running = probe("--reply-ms", 5_000)
    client.begin("ask", "waiting", QUESTION)
    server.ask("answer", "waiting", QUESTION)
    client.expect("ask")
    client.begin("loop", "waiting", "asked", QUESTION)
    server.ask("take", "waiting", QUESTION)
    begun = len(running.consumer.interface_bandwidth("lo"))
    while len(running.consumer.interface_bandwidth("lo")) < begun + 30:
        server.ask("answer", "asked", QUESTION)
    reported = {r.entity_id for r in running.consumer.stalls(pid=client.pid)}
    agrees("busy_peer", reported)
    assert reported <= {f"socket-{inodes['waiting']}"}
    # It answers no more: now its other connection waits.
    running.wait_for(lambda c: c.stalls(inode=inodes["asked"]))


@pytest.mark.parametrize("answers", [True, False])
def test_a_wait_that_is_over_before_the_interval_is(probe, backend, linked, answers):
    """Where the peer goes on to answer another connection, it was an expected one."""
    if not (backend.sees("replies") and backend.sees("one_sided")):
        pytest.skip("it does not find each exchange, and learns of no quick replies here")
    server, client, inodes = linked
    running = probe("--reply-ms", LATE_MS, "--interval", 9)
    for _ in range(9):  # of an event loop that hardly knows its peer, nothing is reported
        client.begin("ask", "waiting", QUESTION)
        server.ask("answer", "waiting", QUESTION)
        client.expect("ask")
    client.begin("loop", "waiting", "asked", QUESTION)
    server.ask("take", "waiting", QUESTION)
    late = time.monotonic() + 3 * LATE_MS / 1_000
    while answers and time.monotonic() < late:
        server.ask("answer", "asked", QUESTION)
    time.sleep(max(late - time.monotonic(), 0))  # the length of the wait
    server.ask("send", "waiting", QUESTION)
    client.expect("loop")
    client.ask("take", "waiting", QUESTION)
    stalls = running.stop().stalls(inode=inodes["waiting"])
    assert [stall.net["ongoing"] for stall in stalls][-1:] == ([] if answers else [False])


def test_an_early_request_of_an_event_loop_to_another_host(probe, worker, agrees, backend, distant):
    """It may be a long poll.  A thread in a receive shows that a reply is due."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    running = probe()
    clients = {role: worker(role, comm=role.encode()) for role in ("evented", "blocking")}
    for client in clients.values():
        server = worker(namespace=distant)
        connect(server, client, "10.23.29.2")
        server.begin("recv", QUESTION)
        client.begin("ask", QUESTION, ANSWER)
        server.expect("recv")
        server.ask("send", ANSWER)
        client.expect("ask")
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
    running.wait_for(lambda c: len(c.stalls(pid=clients["blocking"].pid)) >= 3)
    running.wait_for_intervals(9)
    agrees("first_requests", running.stop().stalls(pid=clients["evented"].pid))


def test_who_sends_more_messages_than_come(probe, worker, agrees, backend, distant):
    """Two for each reply, soon after each other; the samples do not show which has a reply."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    server, client = worker(namespace=distant), worker("evented")
    running = probe()
    connect(server, client, "10.23.29.2")
    for _ in range(11):
        server.begin("recv", 2 * QUESTION)
        client.ask("send", QUESTION)
        client.begin("ask", QUESTION, ANSWER)
        server.expect("recv")
        server.ask("send", ANSWER)
        client.expect("ask")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for_intervals(12)
    agrees("one_sided", running.stop().stalls(pid=client.pid))
