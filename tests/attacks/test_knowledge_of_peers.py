"""What one user's requests teach of a peer hides no other user's waits for it."""

from __future__ import annotations

import pytest
from support.conversation import ANSWER, QUESTION, answered, unanswered
from support.peer import Peer

LINE = 7
# More than ten times the default threshold, and half of what a first report may take: a busy host
# delays it by two or three seconds.
LATE_MS = 2_503
PROMPT = 11  # answers that were not late: enough to be a habit
MORE_THAN_A_TABLE = 6_007


@pytest.fixture
def other_user():
    """The other one of the two users that workers may be."""
    return {"user": "root"}


@pytest.fixture
def distant_server(distant, worker):
    """A server on another host, and how to connect to it."""
    server = worker(namespace=distant)
    port = server.ask("listen", "10.23.29.2")["port"]

    def connect(role="blocking", **options):
        client = worker(role, **options)
        client.connect("10.23.29.2", port)
        server.ask("accept")
        return client

    return server, connect


def answered_late(server, client, times=3):
    """As a long poll or a blocking read of a queue is."""
    for _ in range(times):
        client.begin("ask", QUESTION, ANSWER)
        assert server.ask("recv", QUESTION)["bytes"] == QUESTION
        server.ask("nap", LATE_MS)
        server.ask("send", ANSWER)
        assert client.expect("ask")["bytes"] == ANSWER


def stalls_of(client):
    return lambda consumer: consumer.stalls(pid=client.pid, ongoing=True)


def test_another_user_s_late_answers_make_no_process_s_wait_usual(
    probe, distant_server, other_user
):
    """Waits up to twice as long as those would be silent, were they the victim's own."""
    running = probe()
    server, connect = distant_server
    answered_late(server, connect(**other_user))
    victim = connect()
    unanswered(server, victim)
    first, *_ = running.wait_for(stalls_of(victim))
    assert first.stall_ms < 2 * LATE_MS
    assert first.net["cause"] == "no_reply"


def test_one_s_own_late_answers_make_such_waits_usual(probe, distant_server):
    """The next process of the same job knows: it is reported only after twice as long."""
    running = probe()
    server, connect = distant_server
    answered_late(server, connect())
    running.wait_for_intervals(2)
    next_one = connect()
    unanswered(server, next_one)
    first, *_ = running.wait_for(stalls_of(next_one))
    assert first.stall_ms >= 2 * LATE_MS


def test_a_worker_that_waits_for_its_next_job_hides_no_lookup(probe, distant_server):
    """Both are one user's: whose own answers were prompt so far is not excused by the other's."""
    running = probe()
    server, connect = distant_server
    answered_late(server, connect())
    asks = connect()
    for _ in range(PROMPT):
        answered(server, asks)
        running.wait_for_sample()  # else two exchanges may be one to who samples
    unanswered(server, asks)
    first, *_ = running.wait_for(stalls_of(asks))
    assert first.stall_ms < 2 * LATE_MS


def test_another_user_s_unanswered_bytes_make_no_client_a_log_sender(probe, worker, other_user):
    """A new connection to who answered before waits for its reply, whatever others send there."""
    running = probe()
    server, client = worker(), worker("evented")
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    answered(server, client)
    running.wait_for_intervals(2)

    sender = worker(**other_user)
    sender.connect("127.0.0.1", port)
    server.ask("accept")
    sender.ask("drip", LINE, 150, 11)
    sender.ask("close")
    running.wait_for_intervals(2)

    client.connect("127.0.0.1", port)
    server.ask("accept")
    unanswered(server, client)
    running.wait_for(stalls_of(client))


def test_another_user_s_peers_without_number_make_none_forgotten(probe, worker, netns):
    """The table is full with them: what is known of others' peers stays."""
    running = probe()
    server, client = worker(), worker("evented")
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    answered(server, client)
    running.wait_for_intervals(2)  # who samples does not see the order in what has been closed
    client.ask("close")
    running.wait_for_intervals(2)

    prefix = tuple(netns.command("root"))
    with Peer("floods.many_addresses", MORE_THAN_A_TABLE, LINE, prefix=prefix):
        pass
    running.wait_for_intervals(2)

    client.connect("127.0.0.1", port)
    server.ask("accept")
    unanswered(server, client)
    running.wait_for(stalls_of(client))
