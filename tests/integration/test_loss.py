"""Packets are lost on purpose; the counts are compared with the socket's own."""

from __future__ import annotations

import pytest

BULK_BYTES = 50_000_017
CUT_BYTES = 20_000_003


@pytest.mark.parametrize("role", ["blocking", "evented"])
def test_retransmits_add_up_to_the_sockets_own_count(probe, worker, netns, backend, role):
    """At 5 % loss the RETRANSMIT counts are exactly `total_retrans`, and the sender's."""
    running = probe()
    receiver, sender = worker(), worker(role)
    port = receiver.ask("listen")["port"]
    identity = sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    netns.drop_incoming("meta l4proto tcp numgen random mod 100 < 5")
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES)
    receiver.expect("recv")
    total = sender.ask("settle")["total_retrans"]
    assert total > 0, "no packet was lost: the test proves nothing"
    total = backend.retransmits(total, netns)
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.count("RETRANSMIT", inode=identity["inode"]) == total
    assert consumer.count("RETRANSMIT", pid=sender.pid) == total
    # Loss is no excuse to count bytes twice.
    assert consumer.sent_bytes(sender.pid) <= BULK_BYTES


def test_retransmits_that_the_receiver_had_are_marked(probe, worker, netns, backend):
    """Only acknowledgements are lost: the receiver reports the last retransmit as a duplicate."""
    running = probe()
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    inode = sender.connect("127.0.0.1", port)["inode"]
    receiver.ask("accept")
    for _ in range(2):
        before = running.consumer.count("RETRANSMIT", inode=inode)
        netns.drop_incoming(f"tcp sport {port}")
        sender.ask("send", 23)
        receiver.ask("recv", 23)
        running.wait_for(lambda c, n=before: c.count("RETRANSMIT", inode=inode) > n)
        netns.lose_nothing()
        info = sender.ask("settle")
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert info["total_retrans"] > info["dsack_dups"] >= 2
    reported = backend.retransmits(info["total_retrans"], netns)
    assert consumer.count("RETRANSMIT", inode=inode) == reported
    assert consumer.duplicates(inode) == info["dsack_dups"]


def test_a_sender_into_a_cut_line_waits_because_of_loss(probe, worker, netns):
    """When nothing comes through any more, the cause is loss and not the peer's window."""
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker("evented")
    port = receiver.ask("listen")["port"]
    identity = sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    receiver.begin("drain")
    netns.drop_incoming(f"tcp dport {port}")
    sender.begin("send", CUT_BYTES)
    running.wait_for(lambda consumer: len(consumer.stalls(pid=sender.pid, ongoing=True)) >= 3)
    netns.lose_nothing()
    sender.expect("send")
    running.wait_for(lambda consumer: consumer.stalls(pid=sender.pid, ongoing=False))
    sender.ask("settle")
    running.wait_for_intervals(2)
    consumer = running.stop()
    stalls = consumer.stalls(inode=identity["inode"])
    assert {r.pid for r in stalls} == {sender.pid}
    assert {r.net["direction"] for r in stalls} == {"send"}
    # On a busy host there may be another one: the receiver is late once the line is whole.
    cut = next(r for r in stalls if not r.ongoing)
    assert cut.net["cause"] == "loss"
    assert consumer.count("RETRANSMIT", inode=identity["inode"]) > 0
    assert consumer.sent_bytes(sender.pid) == CUT_BYTES


def test_retransmits_that_could_not_leave_are_none(probe, worker, netns, backend):
    """Since 6.17 the tracepoint reports those as well; only what left is a retransmit.

    The kernel's own count, which the sampler passes on, has the attempts.
    """
    running = probe()
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    inode = client.connect("127.0.0.1", port)["inode"]
    server.ask("accept")
    netns.count_leaving(f"tcp dport {port}")
    netns.drop_incoming(f"tcp dport {port}")
    client.ask("send", 7)
    running.wait_for(lambda consumer: consumer.count("RETRANSMIT", inode=inode) >= 2)
    netns.drop_outgoing(f"tcp dport {port}")
    left = netns.counted_packets("postrouting") - 1  # the first is no retransmit
    while netns.counted_packets("output") < 1:  # the next attempt may be seconds away by now
        running.wait_for_intervals(1)
    assert netns.counted_packets("postrouting") - 1 == left
    tried = client.ask("info")["total_retrans"]
    assert netns.counted_packets("output") >= tried - left > 0
    running.wait_for_intervals(2)
    reported = running.stop().count("RETRANSMIT", inode=inode)
    if backend.per_interval:
        assert left < tried <= reported
    else:
        assert reported == left
