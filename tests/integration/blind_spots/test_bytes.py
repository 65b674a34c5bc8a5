"""Whose bytes: of jobs, processes, sockets and other protocols."""

from __future__ import annotations

import pytest
from support.conversation import connect, transfer

BYTES = 1_000_003


def test_a_short_job(probe, worker, agrees):
    """It moves its bytes and exits between two outputs; on a slow host it is tried again."""
    running = probe("--min-bw", 0, interval=5)
    for _ in range(20):
        server = worker()
        client = worker(env={"SLURM_JOB_ID": "4711"})
        running.wait_for_intervals(1)
        before = len(running.consumer.interface_bandwidth("lo"))
        connect(server, client)
        transfer(client, server, BYTES)
        client.close()
        if len(running.consumer.interface_bandwidth("lo")) == before:
            break
    running.wait_for_intervals(2)
    pid = client.pid
    agrees("brief_job", [r for r in running.stop().records if r.pid == pid and r.job_id])


def test_other_protocols(probe, worker, agrees):
    """Pings are no process's bytes; their interface carried them."""
    running = probe("--min-bw", 0)
    pinging = worker(user="root")
    size, times = 1_009, 23
    sent = pinging.ask("ping", size, times)["bytes"]
    running.wait_for_intervals(3)
    consumer = running.stop()
    agrees("other_protocols", consumer.process_bandwidth(pinging.pid))
    assert sum(r.net["tx_bytes"] for r in consumer.interface_bandwidth("lo")) > sent


def test_which_udp_socket(probe, worker, agrees, backend):
    """Two sockets of one process are one sum."""
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker()
    port = receiver.ask("bind")["port"]
    for _ in range(2):
        receiver.begin("recv_from", 7)
        sender.ask("send_to", "127.0.0.1", port, 101, 7)
        receiver.expect("recv_from")
        sender.ask("close")
    running.wait_for_intervals(3)
    reported = running.stop().process_bandwidth(sender.pid)
    assert sum(r.net["tx_bytes"] for r in reported) == (1_414 if backend.sees("udp_bytes") else 0)
    agrees("udp_socket", [r for r in reported if {"local", "inode"} & r.net.keys()])


def test_bytes_of_a_process(probe, worker, agrees):
    running = probe("--min-bw", 0)
    server, client = worker(), worker()
    connect(server, client)
    running.wait_for_intervals(2)
    transfer(client, server, BYTES)
    running.wait_for_intervals(3)
    agrees("tcp_bytes", running.stop().sent_bytes(client.pid) == BYTES)


def test_which_holder_of_a_socket_uses_it(probe, worker, agrees, backend):
    """Once the child sends, once the parent: one of the two is attributed wrongly."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes at all, which is declared and tested")
    running = probe("--min-bw", 0)
    right = []
    for user in ("child", "parent"):
        server, client = worker(), worker()
        connect(server, client)
        running.wait_for_intervals(2)
        if user == "child":
            child = client.ask("fork")["pid"]
            transfer(client, server, BYTES)
            pids = (child, client.pid)
        else:
            child = client.ask("fork_idle")["pid"]
            transfer(client, server, BYTES)
            pids = (client.pid, child)
        running.wait_for_intervals(3)
        sent = [running.consumer.sent_bytes(pid) for pid in pids]
        assert sum(sent) == BYTES  # whoever it is, never twice
        right.append(sent == [BYTES, 0])
    running.stop()
    agrees("shared_user", all(right))


def test_the_process_of_a_short_lived_connection(probe, worker, agrees, backend):
    """Come and gone within a millisecond or two: all 97 have their process, or not all."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes at all, which is declared and tested")
    running = probe("--min-bw", 0)
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    for _ in range(97):
        client.ask("short", "127.0.0.1", port, 1_009, 0)
    running.wait_for_intervals(3)
    sent = running.stop().sent_bytes(client.pid)
    agrees("brief_owner", sent == 97 * 1_009)
