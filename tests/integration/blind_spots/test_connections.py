"""Connects that fail, segments that are sent again, and lines that are dead."""

from __future__ import annotations

from support.conversation import ANSWER, connect, transfer
from support.waiting import stalls_once_shown

BYTES = 1_000_003


def test_errors_of_connects(probe, worker, agrees):
    running = probe()
    client = worker()
    client.begin("connect", "127.0.0.1", 1)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "ECONNREFUSED"
    running.wait_for_intervals(3)
    agrees("connect_errors", running.stop().count("CONNECT_REFUSED", inode=inode))


def test_connects_without_a_route(probe, worker, agrees):
    """They fail before the socket changes its state."""
    running, client = probe(), worker()
    client.begin("connect", "192.0.2.1", 80)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "ENETUNREACH"
    running.wait_for_intervals(2)
    agrees("no_route", running.stop().errors(f"socket-{inode}"))


def test_repeated_answers_to_a_handshake(probe, worker, netns, agrees, backend):
    """A SYN-ACK that gets lost is sent again for a connection that is no socket yet."""
    running = probe()
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    netns.drop_incoming(f"tcp sport {port} tcp flags & syn == syn")
    client.begin("connect", "127.0.0.1", port)
    client.expect("connecting")
    if backend.sees("handshake_retransmits"):
        running.wait_for(lambda c: c.count("RETRANSMIT", pid=server.pid))
    else:
        running.wait_for_intervals(12)  # the first repeat comes after a second
    agrees("handshake_retransmits", running.stop().count("RETRANSMIT", pid=server.pid))


def test_retransmits_that_hold_no_process_up(probe, worker, netns, agrees):
    running = probe()
    server, client = worker(), worker()
    identity = connect(server, client)
    running.wait_for_intervals(2)
    netns.drop_incoming("meta l4proto tcp numgen random mod 100 < 5")
    transfer(client, server, 20 * BYTES)
    netns.lose_nothing()
    assert client.ask("settle")["total_retrans"]
    running.wait_for_intervals(3)
    agrees("retransmits", running.stop().count("RETRANSMIT", inode=identity["inode"]))


def test_keepalives_without_an_answer(probe, worker, agrees, backend, netns):
    """A subscriber on a dead line: it has asked for nothing, and nothing can come any more."""
    running = probe()
    server, client = worker(), worker()
    identity = connect(server, client)
    client.ask("keep_alive", 1)
    client.begin("recv", ANSWER)
    running.wait_for_intervals(2)
    assert running.consumer.stalls(pid=client.pid) == []
    netns.drop_incoming(f"tcp sport {identity['remote'].rpartition(':')[2]}")
    while netns.counted_packets() < 3:
        running.wait_for_intervals(1)
    shown = backend.sees("keepalives")
    reported = stalls_once_shown(running, client.pid, shown, intervals=2)
    agrees("keepalives", reported)
    netns.lose_nothing()
    if reported:
        running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    running.wait_for_intervals(2)
    for record in running.stop().stalls(pid=client.pid):
        assert record.entity_id == f"socket-{identity['inode']}"
        assert (record.net["direction"], record.net["cause"]) == ("receive", "keepalive")
