"""What bcc is for: a kernel without BTF, older than the ring buffer, and no tracefs mounted.

The kernels here have all three; a mount and a preloaded library take them away from the probe.
"""

from __future__ import annotations

import pytest
from support.lacking import BTF, TRACEFS, Lacking, before_ring_buffers, hidden

LIMIT_S = 180
BULK_BYTES = 1_000_003


def test_bcc_is_taken_by_itself_and_does_without_any_of_it(
    backend, start_probe, worker, netns, tmp_path
):
    """Records come by the queue, which only such a kernel makes it use."""
    if backend.name != "bcc":
        pytest.skip("the other sources need BTF, or no kernel programs at all")
    running = start_probe(
        *("--interval", 0.5, "--loopback", "--min-bw", 0, "--format", "ndjson"),
        namespace=Lacking(netns, hidden(BTF, *TRACEFS), before_ring_buffers(tmp_path)),
        user="root",
    )
    running.wait_for_stderr("source bcc", backend.start_s)
    running.wait_ready()
    receiver, sender, refused = worker(), worker(), worker()
    port = receiver.ask("listen")["port"]
    sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES)
    receiver.expect("recv")
    sender.begin("ask", 23, 29)
    running.wait_for(lambda c: c.stalls(pid=sender.pid, ongoing=True), LIMIT_S)
    receiver.ask("recv", 23)
    receiver.ask("send", 29)
    sender.expect("ask")
    refused.begin("connect", "127.0.0.1", 23)
    refused.expect("connecting")
    assert refused.expect("connect")["error"] == "ECONNREFUSED"
    running.wait_for(lambda c: c.stalls(pid=sender.pid, ongoing=False), LIMIT_S)
    running.wait_for(lambda c: c.count("CONNECT_REFUSED", pid=refused.pid), LIMIT_S)
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.sent_bytes(sender.pid) == BULK_BYTES + 23
    assert consumer.received_bytes(receiver.pid) == BULK_BYTES + 23
    assert consumer.received_bytes(sender.pid) == 29
    assert consumer.count("CONNECT_REFUSED", pid=refused.pid) == 1
    assert [s.ongoing for s in consumer.stalls(pid=sender.pid)].count(False) == 1
    assert consumer.events_lost() == {}
