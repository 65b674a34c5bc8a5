"""Whose socket is it?  Sockets are shared, passed on and outlive their processes."""

from __future__ import annotations

import pytest
from support.consumer_model import peers_of
from support.conversation import connected, transfer, unanswered

ALL_BANDWIDTH = ("--min-bw", 0)  # the last few bytes of a transfer may be an interval's all
FIRST_BYTES, SECOND_BYTES = 1_000_003, 2_000_003


@pytest.fixture
def pair(worker):
    """A server and a client with one connection."""
    return connected(worker)[:2]


def test_small_messages_are_counted_to_the_byte(probe, pair):
    """Twenty-three messages of seven bytes, and the same number of answers of eleven."""
    running = probe(*ALL_BANDWIDTH)
    server, client = pair
    running.wait_for_intervals(1)
    for _ in range(23):
        client.begin("ask", 7, 11)
        server.ask("recv", 7)
        server.ask("send", 11)
        client.expect("ask")
    running.wait_for_intervals(2)
    consumer = running.stop()
    for pid, sent, received in [(client.pid, 161, 253), (server.pid, 253, 161)]:
        assert (consumer.sent_bytes(pid), consumer.received_bytes(pid)) == (sent, received)


def test_a_connection_that_waited_to_be_accepted_has_its_owner(probe, worker):
    """Sampled in the listener's queue, where it has no owner; its life is over in a moment."""
    running = probe(*ALL_BANDWIDTH)
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    running.wait_for_intervals(2)  # it is seen, without an owner
    server.ask("accept")
    running.wait_for_intervals(2)
    transfer(client, server, FIRST_BYTES)
    client.ask("close")
    server.ask("close")
    running.wait_for_intervals(3)
    consumer = running.stop()
    assert consumer.sent_bytes(client.pid) == FIRST_BYTES
    assert consumer.received_bytes(server.pid) == FIRST_BYTES


def test_a_socket_shared_after_fork_is_counted_once(probe, pair, backend):
    """Bytes belong to the process that moved them, and never to both that hold the socket.

    The sampler sees who holds a socket, not who used it: there, only their sum is right.
    """
    running = probe(*ALL_BANDWIDTH)
    server, client = pair
    running.wait_for_intervals(1)
    transfer(client, server, FIRST_BYTES)
    running.wait_for_intervals(2)
    child = client.ask("fork")["pid"]
    transfer(client, server, SECOND_BYTES)
    running.wait_for_intervals(2)
    consumer = running.stop()
    parts = (consumer.sent_bytes(client.pid), consumer.sent_bytes(child))
    assert sum(parts) == FIRST_BYTES + SECOND_BYTES
    assert consumer.received_bytes(server.pid) == FIRST_BYTES + SECOND_BYTES
    if backend.sees("shared_user"):
        assert parts == (FIRST_BYTES, SECOND_BYTES)


def test_who_forked_workers_waits_and_is_waited_for_itself(probe, pair):
    """They inherit the connections, as those that load the data of a rank, and do not use them."""
    running = probe()
    server, client = pair
    workers = {one.ask("fork_idle")["pid"] for one in pair}
    unanswered(server, client)
    running.wait_for(lambda seen: peers_of(seen.stalls(pid=client.pid, ongoing=True)))
    consumer = running.stop()
    assert not any(record.pid in workers for record in consumer.records)
    assert peers_of(consumer.stalls(pid=client.pid)) == {server.pid}


def test_a_socket_passed_to_another_process_has_a_new_owner(probe, worker, pair):
    """Passed over a unix socket and closed by the giver: what follows is the taker's."""
    running = probe(*ALL_BANDWIDTH)
    server, giver = pair
    taker = worker()
    running.wait_for_intervals(1)
    transfer(giver, server, FIRST_BYTES)
    running.wait_for_intervals(2)
    taker.begin("take", f"passed-{taker.pid}")
    taker.expect("taking")
    giver.ask("give", f"passed-{taker.pid}")
    taker.expect("take")
    running.wait_for_intervals(2)
    transfer(taker, server, SECOND_BYTES)
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.sent_bytes(giver.pid) == FIRST_BYTES
    assert consumer.sent_bytes(taker.pid) == SECOND_BYTES


def test_a_socket_that_outlives_its_process_keeps_its_owner(probe, pair):
    """Data left in the buffer of a process that has ended is still that process's."""
    running = probe(*ALL_BANDWIDTH)
    server, client = pair
    running.wait_for_intervals(1)
    client.ask("send", FIRST_BYTES)  # fits into the buffers: the server does not read yet
    client.close()
    running.wait_for_intervals(2)
    assert server.ask("drain")["bytes"] == FIRST_BYTES
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.sent_bytes(client.pid) == FIRST_BYTES
    assert consumer.received_bytes(server.pid) == FIRST_BYTES


def test_an_ipv4_address_in_ipv6_clothes_is_shown_as_ipv4(probe, worker):
    """A v4-mapped socket is reported by the address that its packets have."""
    running = probe()
    server, client = worker(), worker()
    port = server.ask("listen", "::")["port"]
    client.begin("connect", "::ffff:127.0.0.1", port)
    client.expect("connecting")
    client.expect("connect")
    server.ask("accept")
    client.begin("ask", 7, 11)
    running.wait_for(lambda consumer: consumer.stalls(pid=client.pid))
    (remote,) = {r.net["remote"] for r in running.stop().stalls(pid=client.pid)}
    assert remote == f"127.0.0.1:{port}"
