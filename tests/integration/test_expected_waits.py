"""An expected wait, where client and server share a namespace that is not the probe's."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.consumer_model import peers_of
from support.conversation import ANSWER, QUESTION

INTERVAL_S = 0.5
STALL_MS = 100  # the default threshold
CLOCKS_MS = 20  # a tick, and the difference between the clocks of a record
MANY = 25  # replies: the few that are late on a busy host leave the others the rule


def lateness_reported(running, inode):
    """How many records there are once the peer listens.

    On a busy host it was late before, to read a request or to listen: each is a stall, and over.
    """
    running.wait_for_intervals(2)
    return len(running.consumer.stalls(inode=inode))


@pytest.fixture
def asked(backend, probe, worker, make_netns):
    """A request that an event loop of another namespace has read, and the probe that watches.

    The loop waits for more from that connection.
    """
    if not backend.sees("other_namespaces"):
        pytest.skip("no sockets of other namespaces at all, which is declared and tested")
    running = probe(interval=INTERVAL_S)
    elsewhere = make_netns()
    server, client = worker("evented", namespace=elsewhere), worker(namespace=elsewhere)
    inode = client.connect("127.0.0.1", server.ask("listen")["port"])["inode"]
    server.ask("accept")
    server.begin("recv", QUESTION)
    server.begin("recv", QUESTION)
    client.begin("ask", QUESTION, ANSWER)
    server.expect("recv")
    return running, server, client, inode, lateness_reported(running, inode)


def test_a_peer_in_another_namespace_is_sampled(asked):
    """It listens: nothing is reported.  It is stopped: a stall from then on, until it goes on."""
    running, server, client, inode, before = asked

    def reported(consumer):
        return consumer.stalls(inode=inode)[before:]

    running.wait_for_intervals(5)
    assert reported(running.consumer) == []

    stopped_ms = time.time() * 1000
    os.kill(server.pid, signal.SIGSTOP)
    running.wait_for(lambda consumer: len(reported(consumer)) >= 2)
    os.kill(server.pid, signal.SIGCONT)
    running.wait_for(lambda consumer: not reported(consumer)[-1].ongoing)
    running.wait_for_intervals(2)

    *ongoing, last = reported(running.stop())
    assert [r.ongoing for r in ongoing] == [True] * len(ongoing)
    assert not last.ongoing
    assert last.stall_ms >= ongoing[-1].stall_ms
    for record in (*ongoing, last):
        assert record.pid == client.pid
        assert (record.net["direction"], record.net["cause"]) == ("receive", "no_reply")
        # It counts from the stop, and not from the request.
        assert STALL_MS <= record.stall_ms <= record.ts - stopped_ms + CLOCKS_MS


@pytest.fixture
def lost(backend, worker):
    """Lose a request: an event loop on this host reads it, and waits for more."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    server, client = worker("evented"), worker()
    inode = client.connect("127.0.0.1", server.ask("listen")["port"])["inode"]
    server.ask("accept")

    def lose(running, after, compute_ms=0):
        """Ask, after so many requests that were answered at once.

        Then another thread of the server computes for so long.  The server is given what it does
        before it is asked: until it listens, it is busy.
        """
        for _ in range(after):
            server.begin("recv", QUESTION)
            server.begin("send", ANSWER)
            assert client.ask("ask", QUESTION, ANSWER)["bytes"] == ANSWER
            for event in ("recv", "send"):
                server.expect(event)
            if backend.per_interval:  # of what lies between two samples it sees one request
                running.wait_for_sample()
        server.begin("recv", QUESTION)
        if compute_ms:
            server.begin("compute_aside", compute_ms)
        server.begin("recv", QUESTION)
        client.begin("ask", QUESTION, ANSWER)
        server.expect("recv")
        if compute_ms:
            server.expect("compute_aside")
        return server, client, inode, lateness_reported(running, inode)

    return lose


def reported_to_its_end(running, server, client, inode, before):
    """The records of a wait of the client, which is over when its server is killed."""
    running.wait_for(lambda consumer: len(consumer.stalls(inode=inode)) >= before + 2)
    # The search for the peer takes its time on a busy host.
    running.wait_for(lambda consumer: peers_of(consumer.stalls(inode=inode)[before:]))
    os.kill(server.pid, signal.SIGKILL)
    running.wait_for(lambda consumer: not consumer.stalls(inode=inode)[-1].ongoing)
    running.wait_for_intervals(2)
    stalls = running.stop().stalls(inode=inode)[before:]
    assert [r.ongoing for r in stalls] == [True] * (len(stalls) - 1) + [False]
    assert {r.pid for r in stalls} == {client.pid}
    assert peers_of(stalls) == {server.pid}
    return stalls


def test_a_request_that_an_idle_peer_has_read_is_probably_lost(probe, lost):
    """Its replies always came at once; so it is likely, and reported on request, to its end."""
    running = probe("--report-probable", interval=INTERVAL_S)
    server, client, inode, before = lost(running, after=MANY)
    for reported in reported_to_its_end(running, server, client, inode, before):
        assert (reported.net["cause"], reported.net["probable"]) == ("no_reply", True)
    probable = [r for r in running.consumer.stalls(inode=inode) if "probable" in r.net]
    assert min(r.stall_ms for r in probable) >= 5 * STALL_MS


@pytest.mark.parametrize(("options", "after"), [((), MANY), (("--report-probable",), 3)])
def test_it_is_an_expected_wait_unless_asked_for_and_replies_came_soon(probe, lost, options, after):
    running = probe(*options, interval=INTERVAL_S)
    _, _, inode, before = lost(running, after)
    running.wait_for_intervals(6)
    assert running.stop().stalls(inode=inode)[before:] == []


def test_an_idle_event_loop_whose_other_threads_compute_has_handed_the_request_on(probe, lost):
    """To a pool, as gRPC does: a stall, as long as the threads compute and no reply comes."""
    running = probe(interval=INTERVAL_S)
    server, client, inode, before = lost(running, after=MANY, compute_ms=60_000)
    for reported in reported_to_its_end(running, server, client, inode, before):
        assert reported.net["cause"] == "no_reply"
        assert "probable" not in reported.net


def test_what_other_threads_compute_is_nothing_to_who_never_got_a_reply_soon(probe, lost):
    running = probe(interval=INTERVAL_S)
    _, _, inode, before = lost(running, after=3, compute_ms=60_000)
    running.wait_for_intervals(6)
    assert running.stop().stalls(inode=inode)[before:] == []
