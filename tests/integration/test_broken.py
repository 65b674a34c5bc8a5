"""Networks that break in the middle: a peer that vanishes, resets or stops, or is nowhere."""

from __future__ import annotations

import time

import pytest
from support.conversation import ANSWER, QUESTION, answered, connected

LIMIT_MS = 10_000  # a busy host may take seconds for an interval


def test_a_peer_that_vanishes(probe, worker, netns, backend):
    """Every packet is lost, until the connection fails: reported while it lasts, with its error."""
    running = probe()
    _, client, identity = connected(worker)
    running.wait_for_intervals(2)
    client.ask("give_up_after", LIMIT_MS)
    netns.drop_incoming(f"tcp dport {identity['port']}")
    begin = time.monotonic()
    client.begin("ask", QUESTION, ANSWER)
    running.wait_for(
        lambda c: [s for s in c.stalls(pid=client.pid, ongoing=True) if s.net["cause"] == "loss"]
    )
    assert client.expect("ask")["error"] == "ETIMEDOUT"
    lasted_ms = (time.monotonic() - begin) * 1e3
    retransmits = client.ask("info")["total_retrans"]
    client.ask("close")
    inode = identity["inode"]
    running.wait_for(lambda c: c.stalls(inode=inode, ongoing=False))
    running.wait_for_intervals(2)
    consumer = running.stop()
    *ongoing, ended = consumer.stalls(inode=inode)
    assert {(r.pid, r.net["direction"]) for r in (*ongoing, ended)} == {(client.pid, "receive")}
    assert ongoing[-1].net["cause"] == ended.net["cause"] == "loss"
    late_ms = backend.late_ms(consumer)
    # The machine may take its time to run the process that gets the error.
    assert LIMIT_MS - late_ms <= ended.stall_ms <= lasted_ms + late_ms
    assert retransmits > 0
    reported = backend.retransmits(retransmits, netns)
    assert consumer.count("RETRANSMIT", inode=inode, pid=client.pid) == reported
    reported = 1 if backend.sees("connect_errors") else 0
    assert consumer.count("CONNECT_TIMEOUT", inode=inode, pid=client.pid) == reported
    for other in ("RESET", "CONNECT_REFUSED"):
        assert consumer.count(other, pid=client.pid) == 0


def test_a_host_that_is_nowhere(probe, worker, netns, backend):
    """Somebody on the way answers for it: no route to host, and no refusal either."""
    running = probe()
    client = worker()
    netns.refuse_incoming("tcp dport 7777", "icmp type host-unreachable")
    client.begin("connect", "127.0.0.1", 7777)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "EHOSTUNREACH"
    running.wait_for_intervals(2)
    consumer = running.stop()
    reported = 1 if backend.sees("connect_errors") else 0
    assert consumer.count("CONNECT_TIMEOUT", inode=inode, pid=client.pid) == reported
    assert consumer.count("CONNECT_REFUSED", pid=client.pid) == 0


def test_a_reset_in_mid_stream(probe, worker, backend):
    """The peer has read a part and resets: what each side moved is exact, and the error known."""
    sent, read = 60_013, 30_011
    running = probe("--min-bw", 0)
    server, client, identity = connected(worker)
    client.ask("send", sent)
    server.ask("recv", read)
    running.wait_for_intervals(2)
    client.begin("recv", ANSWER)
    server.ask("reset")
    assert client.expect("recv")["error"] == "ECONNRESET"
    running.wait_for_intervals(3)
    consumer = running.stop()
    assert consumer.sent_bytes(client.pid) == sent
    # Before the reset the sampler has counted what arrived, the kernel what was read of it.
    arrived = sent if backend.bytes_tolerance else read
    assert consumer.received_bytes(server.pid) == arrived
    reported = 1 if backend.sees("connect_errors") else 0
    assert consumer.count("RESET", inode=identity["inode"], pid=client.pid) == reported
    assert consumer.count("RESET", pid=server.pid) == 0
    assert consumer.received_bytes(client.pid) == consumer.sent_bytes(server.pid) == 0


@pytest.mark.parametrize("role", ["blocking", "evented"])
@pytest.mark.parametrize("idle_intervals", [0, 7])
def test_a_hole_in_a_download(probe, worker, netns, backend, role, idle_intervals):
    """A segment is lost again and again, the one after it is here: more was coming, and is not.

    Since the hole is there, however long nothing was to be had before it.
    """
    running = probe()
    server, client, identity = connected(worker, client_role=role)
    answered(server, client)
    running.wait_for_intervals(2)
    earlier = len(running.consumer.stalls(pid=client.pid))  # on a busy host the answer may be late
    client.begin("recv", 1_001 + 777)
    running.wait_for_intervals(idle_intervals)
    # Its length marks the segment: 20 bytes of IP, 20 of TCP, 12 of timestamps.
    netns.drop_incoming(f"tcp sport {identity['port']} meta length {52 + 1_001}")
    begin_ms = time.time_ns() / 1e6
    # Both by one command: after the first retransmit, the other one would not leave.
    server.ask("send", 1_001 + 777, 1_001)
    running.wait_for_intervals(2)
    found_ms = running.consumer.interface_bandwidth()[-1].ts
    running.wait_for(lambda c: sum(r.ongoing for r in c.stalls(pid=client.pid)[earlier:]) >= 4)
    released_ms = time.time_ns() / 1e6
    netns.lose_nothing()
    client.expect("recv")
    end_ms = time.time_ns() / 1e6
    running.wait_for(lambda c: not c.stalls(pid=client.pid)[-1].ongoing)
    running.wait_for_intervals(2)
    consumer = running.stop()
    *ongoing, ended = consumer.stalls(pid=client.pid)[earlier:]
    assert {r.net["direction"] for r in (*ongoing, ended)} == {"receive"}
    assert {r.net["cause"] for r in (*ongoing, ended)} == {"loss"}
    assert [r.ongoing for r in (*ongoing, ended)] == [True] * len(ongoing) + [False]
    # It begins with the sample that found it, or up to the length of a stall before that.
    late_ms = backend.late_ms(consumer)
    assert released_ms - found_ms - late_ms <= ended.stall_ms
    assert ended.stall_ms <= end_ms - begin_ms + 100 + late_ms


def test_a_half_closed_client_waits_for_its_answer(probe, worker):
    """It has closed its sending side, and reads on: that is a wait like any other."""
    running = probe()
    server, client, identity = connected(worker)
    client.ask("send", QUESTION)
    client.ask("finish")
    client.begin("recv", ANSWER)
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= 3)
    server.ask("send", ANSWER)
    client.expect("recv")
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    running.wait_for_intervals(2)
    consumer = running.stop()
    stalls = [r for r in consumer.stalls() if r.pid in (client.pid, server.pid)]
    reported = {(r.pid, r.entity_id, r.net["cause"]) for r in stalls}
    assert reported == {(client.pid, f"socket-{identity['inode']}", "no_reply")}
