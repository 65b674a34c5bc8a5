"""Who waits, on which socket, for how long and why; and a hang while it hangs."""

from __future__ import annotations

from itertools import dropwhile

from support.conversation import ANSWER, QUESTION, answered, connected

LIMIT_S = 180
MORE_THAN_BUFFERS = 20_000_003
STALL_MS = 100


def wait_while_it_hangs(running, client, times=3):
    """The stall is reported again and again before anything finishes it."""
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= times, LIMIT_S)


def assert_one_stall(consumer, client, inode, truth, backend, direction, causes):
    records = consumer.stalls(pid=client.pid)
    over = next(at for at, record in enumerate(records) if not record.ongoing)
    records, later = records[: over + 1], records[over + 1 :]
    # An emulated reader may hold its sender up again for a moment.
    assert direction == "send" or not later
    assert all(r.stall_ms < truth["stall_ms"] / 4 for r in later)
    assert {r.entity_id for r in records} == {f"socket-{inode}"}
    assert {r.net["direction"] for r in records} == {direction}
    assert {r.net["comm"] for r in records} == {"python3"}
    seen = [r.net["cause"] for r in records]
    if direction == "send":  # data may be in flight for a stall length, as slow as a guest is
        seen = list(dropwhile(lambda cause: cause == "send_buffer", seen))
    # no other cause before the true one is seen
    assert set(seen) == causes
    assert [r.ongoing for r in records] == [True] * (len(records) - 1) + [False]
    lengths = [r.stall_ms for r in records]
    assert lengths == sorted(lengths)
    assert lengths[0] >= STALL_MS
    assert abs(lengths[-1] - truth["stall_ms"]) <= backend.stall_tolerance_ms, (lengths, truth)


def idle_ones(worker):
    """A listener, a keep-alive server with its client, a log sender: none of them waits."""
    listener = worker()
    listener.ask("listen")
    listener.begin("accept")
    server, client, _ = connected(worker)
    answered(server, client)
    server.begin("recv", QUESTION)
    reader, sender, _ = connected(worker)
    reader.begin("drain")
    sender.begin("drip", 7, 50, 1_000)
    return {one.pid for one in (listener, server, client, reader, sender)}


def test_who_waits_is_reported_while_it_lasts_and_who_is_idle_never(probe, worker, backend):
    """Senders to a peer that does not read, clients without a reply; blocked, and in epoll.

    A probe of its own: what earlier tests made it read of /proc, its budget would still owe.
    """
    running = probe()
    idle = idle_ones(worker)
    senders = [connected(worker, client_role=role) for role in ("blocking", "evented")]
    askers = [connected(worker, client_role=role) for role in ("blocking", "evented")]
    answered(*askers[1][:2])  # in epoll, only an earlier answer shows that one is awaited
    running.wait_for_intervals(2)
    for server, client, _ in askers:
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
    for _, client, _ in senders:
        client.begin("send", MORE_THAN_BUFFERS)
    for _, client, _ in senders + askers:
        wait_while_it_hangs(running, client)

    truths = {}
    for server, client, _ in askers:
        server.ask("send", ANSWER)
        truths[client.pid] = client.expect("ask")
    for server, client, _ in senders:
        server.begin("recv", MORE_THAN_BUFFERS)
        truths[client.pid] = client.expect("send")
        server.expect("recv")
    for _, client, _ in senders + askers:
        running.wait_for(lambda c, pid=client.pid: c.stalls(pid=pid, ongoing=False), LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.consumer
    for found, direction, causes in (
        (senders, "send", {"peer_window"}),
        (askers, "receive", {"no_reply"}),
    ):
        for server, client, identity in found:
            truth = truths[client.pid]
            assert_one_stall(consumer, client, identity["inode"], truth, backend, direction, causes)
            assert consumer.stalls(pid=server.pid) == []
    assert {r.pid for r in consumer.stalls()} & idle == set()
    # What the kernel does not run is reported: kprobes, on a busy host.
    assert consumer.events_lost() == {}


def test_a_connect_waits_for_a_peer_that_does_not_answer(running, worker, lose, backend):
    server = worker()
    port = server.ask("listen")["port"]
    clients = [worker(role) for role in ("blocking", "evented")]
    lose(100)
    for client in clients:
        client.begin("connect", "127.0.0.1", port)
    inodes = [client.expect("connecting")["inode"] for client in clients]
    for client in clients:
        wait_while_it_hangs(running, client)
    lose(0)
    truths = [client.expect("connect") for client in clients]
    for client in clients:
        running.wait_for(lambda c, pid=client.pid: c.stalls(pid=pid, ongoing=False), LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.consumer
    for client, inode, truth in zip(clients, inodes, truths, strict=True):
        assert_one_stall(consumer, client, inode, truth, backend, "connect", {"connecting"})
