"""A process has the number that the probe's own pid namespace gives it, or none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.namespace import PidNamespace

MORE_THAN_BUFFERS = 20_000_003
BYTES = 1_000_003


@pytest.fixture
def below(netns):
    """A pid namespace below the one of the tests."""
    namespace = PidNamespace(netns)
    yield namespace
    namespace.close()


def stalled(worker, namespace):
    server, client = worker(namespace=namespace), worker(namespace=namespace)
    identity = client.connect("127.0.0.1", server.ask("listen")["port"])
    server.ask("accept")
    client.begin("send", MORE_THAN_BUFFERS)
    return client, identity["inode"]


def test_who_is_in_a_namespace_below_has_our_number(probe, worker, below):
    """As a container's process has for the host: its own number means another process here."""
    running = probe("--min-bw", 0)
    server, client = worker(namespace=below), worker(namespace=below)
    client.connect("127.0.0.1", server.ask("listen")["port"])
    server.ask("accept")
    running.wait_for_intervals(2)
    server.begin("recv", BYTES)
    client.ask("send", BYTES)
    server.expect("recv")
    waiting, inode = stalled(worker, below)
    running.wait_for(lambda c: len(c.stalls(inode=inode, ongoing=True)) >= 2)
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert client.pid < 20, "not a number of the namespace below"
    assert consumer.sent_bytes(below.pid_outside(client.pid)) == BYTES
    assert consumer.received_bytes(below.pid_outside(server.pid)) == BYTES
    assert {r.pid for r in consumer.stalls(inode=inode)} == {below.pid_outside(waiting.pid)}


def test_who_is_not_in_the_probes_namespace_has_no_number(
    start_probe, backend, worker, below, netns
):
    """In a container the probe names its own processes by their numbers there.

    Others come as null, or not at all where sockets are found by the files of visible processes.
    """
    words = (*backend.options, "--loopback", "--interval", 0.2)
    running = start_probe(*words, namespace=below, user=backend.user)
    running.wait_ready()
    inside, inside_inode = stalled(worker, below)
    _, outside_inode = stalled(worker, netns)
    outside = {None} if backend.sees("outside_processes") else set()
    expected = {inside_inode, *([outside_inode] if outside else [])}
    running.wait_for(lambda c: all(c.stalls(inode=inode) for inode in expected))
    running.wait_for_intervals(2)
    end_below(running)
    consumer = running.wait_exit(timeout=60)
    assert {r.pid for r in consumer.stalls(inode=inside_inode)} == {inside.pid}
    assert {r.pid for r in consumer.stalls(inode=outside_inode)} == outside


def end_below(running):
    """End the probe: a signal to nsenter would not reach it."""
    pid = running.process.pid
    (below,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(below), signal.SIGTERM)
