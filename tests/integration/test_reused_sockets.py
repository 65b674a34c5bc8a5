"""One socket for one connection after the other: the kernel begins its counts anew."""

from __future__ import annotations

import time

from support.conversation import ANSWER, QUESTION, answered, connected, unanswered


def test_a_connect_that_failed_is_tried_again(probe, worker, netns, backend):
    """They are two stalls, and each SYN that is sent again counts once."""
    netns.run("sysctl", "-eqw", "net.ipv4.tcp_syn_linear_timeouts=0")
    running = probe()
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    netns.drop_incoming(f"tcp dport {port}")
    running.wait_for_intervals(1)
    begun_s = time.monotonic()
    client.begin("connect", "127.0.0.1", port, 1)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "ETIMEDOUT"
    between_s = time.monotonic()
    assert client.ask("connect_again", "127.0.0.1", port)["error"] == "ETIMEDOUT"
    ended_s = time.monotonic()
    running.wait_for_intervals(2)
    consumer = running.stop()
    first, second = consumer.stalls(inode=inode, ongoing=False)
    assert first.pid == second.pid == client.pid
    late_ms = backend.late_ms(consumer)
    assert first.stall_ms <= (between_s - begun_s) * 1e3 + late_ms
    assert second.stall_ms <= (ended_s - between_s) * 1e3 + late_ms
    again = netns.kernel_counter("snmp", "RetransSegs")
    assert again >= 2
    assert consumer.count("RETRANSMIT", inode=inode) == backend.retransmits(again, netns)


def test_a_connection_by_a_socket_that_had_another(probe, worker, netns, backend):
    """Bytes, retransmits and a stall of the second one are those of a new socket."""
    running = probe("--min-bw", 0)
    first, client, identity = connected(worker)
    inode = identity["inode"]
    answered(first, client)
    netns.drop_incoming(f"tcp dport {identity['port']}")
    client.begin("ask", QUESTION, ANSWER)
    running.wait_for(lambda c: c.count("RETRANSMIT", inode=inode) >= 2)
    netns.lose_nothing()
    assert first.ask("recv", QUESTION)["bytes"] == QUESTION
    first.ask("send", ANSWER)
    client.expect("ask")
    again = client.ask("settle")["total_retrans"]
    running.wait_for_intervals(2)
    second = worker()
    port = second.ask("listen")["port"]
    client.ask("connect_again", "127.0.0.1", port)
    second.ask("accept")
    answered(second, client)
    unanswered(second, client)
    running.wait_for(
        lambda c: [s for s in c.stalls(inode=inode, ongoing=True) if f":{port}" in s.net["remote"]]
    )
    second.ask("send", ANSWER)
    client.expect("ask")
    netns.drop_incoming(f"tcp dport {port}")
    client.begin("ask", QUESTION, ANSWER)
    before = running.consumer.count("RETRANSMIT", inode=inode)
    running.wait_for(lambda c: c.count("RETRANSMIT", inode=inode) > before)
    netns.lose_nothing()
    assert second.ask("recv", QUESTION)["bytes"] == QUESTION
    second.ask("send", ANSWER)
    client.expect("ask")
    again += client.ask("settle")["total_retrans"]
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.count("RETRANSMIT", inode=inode) == backend.retransmits(again, netns)
    assert consumer.sent_bytes(client.pid) == 5 * QUESTION
    assert consumer.received_bytes(client.pid) == 5 * ANSWER
