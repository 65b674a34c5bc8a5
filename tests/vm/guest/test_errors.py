"""Retransmits, refusals, timeouts and resets, each charged to the process whose socket it is."""

from __future__ import annotations

import subprocess

import pytest

LIMIT_S = 180
BULK_BYTES = 1_000_003


@pytest.fixture
def bystander():
    """Busy on a CPU: the task that a softirq interrupts, which must never be blamed."""
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as process:
        yield process
        process.kill()


def test_retransmits_in_softirq_are_the_senders(running, worker, lose, bystander):
    """Exactly `total_retrans` of the socket, under netem's 5 % loss; none of another socket."""
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    inode = sender.connect("127.0.0.1", port)["inode"]
    receiver.ask("accept")
    lose(5)
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES, timeout=LIMIT_S)
    receiver.expect("recv", LIMIT_S)
    lose(0)
    total = sender.ask("settle", timeout=LIMIT_S)["total_retrans"]
    assert total > 0, "no packet was lost: the test proves nothing"
    running.wait_for(lambda c: c.count("RETRANSMIT", inode=inode) >= total, LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.consumer
    assert consumer.count("RETRANSMIT", inode=inode) == total
    assert {r.pid for r in consumer.errors(f"socket-{inode}")} == {sender.pid}
    assert consumer.count("RETRANSMIT", pid=bystander.pid) == 0
    # Loss is no excuse to count bytes twice.
    assert consumer.sent_bytes(sender.pid) <= BULK_BYTES
    assert consumer.events_lost() == {}


def test_refused_connects_and_resets_are_errors_of_who_gets_them(running, worker, only_rare):
    """Seven refusals; and a server that closes over a request that it never read."""
    server, client, refused = worker(), worker(), worker()
    port = server.ask("listen")["port"]
    inode = client.connect("127.0.0.1", port)["inode"]
    server.ask("accept")
    client.begin("ask", 23, 29)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True), LIMIT_S)
    server.ask("close")
    assert client.expect("ask")["error"] == "ECONNRESET"

    inodes = []
    for _ in range(7):
        refused.begin("connect", "127.0.0.1", 23)
        inodes.append(refused.expect("connecting")["inode"])
        assert refused.expect("connect")["error"] == "ECONNREFUSED"
    running.wait_for(lambda c: c.count("CONNECT_REFUSED", pid=refused.pid) >= 7, LIMIT_S)
    running.wait_for(lambda c: c.count("RESET", inode=inode), LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.consumer
    assert [consumer.count("CONNECT_REFUSED", inode=inode) for inode in inodes] == [1] * 7
    assert consumer.count("RESET", inode=inode, pid=client.pid) == 1
    assert consumer.count("RESET", pid=server.pid) == 0


def test_a_reset_is_that_of_the_child_that_waits_for_the_reply(running, worker, only_rare):
    """Its parent has sent the request, and nothing came since."""
    server, client = worker(), worker()
    inode = client.connect("127.0.0.1", server.ask("listen")["port"])["inode"]
    server.ask("accept")
    client.ask("send", 23)
    family = client.ask("fork")
    client.begin("recv", 29)
    child, parent = family["pid"], family["parent"]
    running.wait_for(lambda c: c.stalls(pid=child, ongoing=True), LIMIT_S)
    server.ask("close")
    assert client.expect("recv")["error"] == "ECONNRESET"
    running.wait_for(lambda c: c.stalls(pid=child, ongoing=False), LIMIT_S)
    running.wait_for(lambda c: c.count("RESET", inode=inode), LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.consumer
    assert [consumer.count("RESET", inode=inode, pid=pid) for pid in (child, parent)] == [1, 0]
    assert {r.pid for r in consumer.stalls(inode=inode)} == {child}


@pytest.fixture
def gives_up_early(netns):
    """A handshake fails after three seconds, not after two minutes."""
    name = "net.ipv4.tcp_syn_retries"
    before = netns.run("sysctl", "-n", name).strip()
    netns.run("sysctl", "-q", "-w", f"{name}=1")
    yield
    netns.run("sysctl", "-q", "-w", f"{name}={before}")


def test_a_handshake_that_gives_up_is_an_error_of_who_connects(
    running, worker, gives_up_early, lose, only_rare
):
    client = worker()
    lose(100)
    client.begin("connect", "127.0.0.1", 23)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect", LIMIT_S)["error"] == "ETIMEDOUT"
    running.wait_for(lambda c: c.count("CONNECT_TIMEOUT", inode=inode), LIMIT_S)
    running.wait_for_intervals(1)
    consumer = running.consumer
    assert consumer.count("CONNECT_TIMEOUT", inode=inode, pid=client.pid) == 1
    assert consumer.count("CONNECT_REFUSED", pid=client.pid) == 0
    assert consumer.count("RETRANSMIT", inode=inode, pid=client.pid) >= 1
