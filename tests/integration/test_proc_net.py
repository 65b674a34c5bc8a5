"""Where sock_diag is refused there is /proc/net: fewer events, and none of them invented."""

from __future__ import annotations

import time

import pytest
from support.backends import PROC_NET
from support.conversation import connected
from support.truth import bounds_ms

MORE_THAN_BUFFERS = 20_000_003
OPTIONS = (*PROC_NET.options, "--loopback", "--interval", 0.2)


@pytest.fixture
def running(start_probe):
    """A probe that has only /proc/net, as a gVisor or hardened container leaves it."""
    probe = start_probe(*OPTIONS)
    probe.wait_ready()
    return probe


def test_a_blocked_sender_is_seen(running, worker):
    """The thread that is in send, and its socket's queue, are enough."""
    server, client, identity = connected(worker)
    client.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= 3)
    released_ns = time.monotonic_ns()
    server.begin("recv", MORE_THAN_BUFFERS)
    truth = client.expect("send") | {"released_ns": released_ns}
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    consumer = running.stop()
    assert consumer.waits_on(client.pid) == {f"socket-{identity['inode']}"}
    assert {r.net["direction"] for r in consumer.stalls()} == {"send"}
    # One stall: the first that is over lasted until the release.  On a busy host there may be
    # others, where the peer pauses while it reads.
    stall_ms = consumer.stalls(pid=client.pid, ongoing=False)[0].stall_ms
    least_ms, most_ms = bounds_ms(truth)
    late_ms = PROC_NET.late_ms(consumer)  # it begins with a sample, and is over with another one
    assert least_ms - late_ms <= stall_ms <= most_ms + late_ms


def test_the_source_reports_what_it_cannot_see(running, worker):
    """The line at start shows it; no bytes of a process are claimed, an interface's are."""
    server, client, _ = connected(worker)
    server.begin("recv", MORE_THAN_BUFFERS)
    client.ask("send", MORE_THAN_BUFFERS)
    server.expect("recv")
    running.wait_for_intervals(2)
    assert b"/proc/net only" in running.stderr
    consumer = running.stop()
    assert consumer.process_bandwidth() == []
    carried = sum(r.net["tx_bytes"] for r in consumer.interface_bandwidth("lo"))
    assert carried > MORE_THAN_BUFFERS
