"""Known traffic in, the same bytes out: per process, per direction, per interface."""

from __future__ import annotations

import pytest

BULK_BYTES = 200_000_033
SHORT_BYTES = 1_000_003


def assert_bytes(found, sent, backend):
    """Right to the backend's tolerance, which for the kernel's own counts is none."""
    assert abs(found - sent) <= sent * backend.bytes_tolerance, f"{found} of {sent}"


@pytest.mark.parametrize("after", ["open", "closed"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_bulk_transfer_adds_up_at_both_sockets(probe, worker, backend, host, after):
    """200 MB show as sent by the sender and received by the receiver, and never twice.

    Both for sockets that stay open and for those closed at once, between two samples.
    """
    running = probe(*backend.all_bandwidth)
    receiver, sender = worker(), worker()
    port = receiver.ask("listen", host)["port"]
    sender.connect(host, port)
    receiver.ask("accept")
    running.wait_for_intervals(2)  # so that both sockets are known before the bytes flow

    receiver.begin("recv", BULK_BYTES)
    assert sender.ask("send", BULK_BYTES)["bytes"] == BULK_BYTES
    assert receiver.expect("recv")["bytes"] == BULK_BYTES
    if after == "closed":
        sender.ask("close")
        receiver.ask("close")
    running.wait_for_intervals(3)

    consumer = running.stop()
    assert_bytes(consumer.sent_bytes(sender.pid), BULK_BYTES, backend)
    assert_bytes(consumer.received_bytes(receiver.pid), BULK_BYTES, backend)
    assert consumer.received_bytes(sender.pid) == 0
    assert consumer.sent_bytes(receiver.pid) == 0
    # The interface carries the same bytes with their headers.
    (through,) = {r.entity_id for r in consumer.process_bandwidth(sender.pid)}
    assert through == "lo"
    carried = sum(r.net["tx_bytes"] for r in consumer.interface_bandwidth("lo"))
    assert BULK_BYTES < carried < BULK_BYTES * 1.05


def test_rates_are_bytes_over_measured_time(probe, worker):
    """Each record's Mbps follow from its own bytes and its own interval."""
    running = probe()
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES)
    receiver.expect("recv")
    running.wait_for(lambda consumer: consumer.sent_bytes(sender.pid) > BULK_BYTES / 2)
    consumer = running.stop()
    busy = [r for r in consumer.records if r.event_type == "transport.bw" and r.mbps]
    assert busy
    for record in busy:
        net = record.net
        for way in ("rx", "tx"):
            # The milliseconds are cut off, the rate is by the nanosecond: it lies between.
            bits = net[f"{way}_bytes"] * 8 / 1000
            most = bits / net["interval_ms"] if net["interval_ms"] else float("inf")
            assert bits / (net["interval_ms"] + 1) - 0.01 <= net[f"{way}_mbps"] <= most + 0.01
        assert record.mbps == pytest.approx(net["rx_mbps"] + net["tx_mbps"], abs=0.02)


def test_a_connection_of_50_ms_is_counted(probe, worker, backend):
    """A connection that comes and goes between two samples is not missed.

    The sampler may not know whose it was: then its bytes are on the interface's record.
    """
    running = probe(*backend.all_bandwidth, interval=0.5)
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    receiver.begin("accept")
    receiver.begin("drain")
    sender.begin("short", "127.0.0.1", port, SHORT_BYTES, 50)
    assert sender.expect("short")["bytes"] == SHORT_BYTES
    receiver.expect("accept")
    assert receiver.expect("drain")["bytes"] == SHORT_BYTES
    receiver.ask("close")
    running.wait_for_intervals(3)
    consumer = running.stop()
    owned = consumer.sent_bytes(sender.pid) + consumer.received_bytes(receiver.pid)
    if backend.sees("brief_owner"):
        assert owned == 2 * SHORT_BYTES
    else:
        assert_bytes(owned + consumer.unattributed_bytes(), 2 * SHORT_BYTES, backend)


def test_a_process_is_charged_to_the_interface_it_uses(probe, worker, make_netns, netns):
    """Traffic over a veth pair is the veth's, and not loopback's."""
    elsewhere = make_netns(beside=netns)
    here, _ = netns.join(elsewhere)
    running = probe()
    receiver, sender = worker(namespace=elsewhere), worker()
    port = receiver.ask("listen", "10.23.29.2")["port"]
    sender.connect("10.23.29.2", port)
    receiver.ask("accept")
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES)
    receiver.expect("recv")
    running.wait_for(lambda consumer: consumer.sent_bytes(sender.pid) >= BULK_BYTES * 0.99)
    consumer = running.stop()
    assert {r.entity_id for r in consumer.process_bandwidth(sender.pid)} == {here}
    assert consumer.graph.bandwidth_mbps.keys() == {"lo", here}
    assert max(r.mbps for r in consumer.interface_bandwidth("lo")) == 0


def test_only_the_chosen_interface_is_reported_of(probe, worker, make_netns, netns):
    """--interface narrows everything to it: traffic on loopback leaves no record."""
    elsewhere = make_netns(beside=netns)
    here, _ = netns.join(elsewhere)
    running = probe("--interface", here)
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    receiver.begin("recv", SHORT_BYTES)
    sender.ask("send", SHORT_BYTES)
    receiver.expect("recv")
    sender.begin("ask", 7, 11)  # a stall, but not there
    running.wait_for_intervals(4)
    consumer = running.stop()
    assert consumer.graph.bandwidth_mbps.keys() == {here}
    # What the probe lost may be of others on this host.
    assert {r.entity_id for r in consumer.records} - {"xctl-probe"} == {here}


def test_a_little_bandwidth_is_not_reported_of_a_process(probe, worker):
    """Below --min-bw a process's bandwidth would read as waiting, so it is not emitted."""
    running = probe()
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    sender.connect("127.0.0.1", port)
    receiver.ask("accept")
    receiver.begin("recv", 23 * 7)
    sender.ask("drip", 7, 100, 23)
    receiver.expect("recv")
    running.wait_for_intervals(2)
    consumer = running.stop()
    for worker_pid in (sender.pid, receiver.pid):
        assert consumer.process_bandwidth(worker_pid) == []
        assert consumer.waits_on(worker_pid) == set()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_add_up_at_both_sockets(probe, worker, backend, host):
    """UDP bytes are the payload's, for sender and receiver."""
    if not backend.sees("udp_bytes"):
        pytest.skip(f"{backend.name} cannot see UDP bytes, and says so")
    size, times = 1_009, 1_997
    running = probe("--min-bw", 0.001)
    receiver, sender = worker(), worker()
    port = receiver.ask("bind", host)["port"]
    receiver.begin("recv_from", times)
    assert sender.ask("send_to", host, port, size, times)["bytes"] == size * times
    assert receiver.expect("recv_from")["bytes"] == size * times
    running.wait_for_intervals(3)
    consumer = running.stop()
    assert consumer.sent_bytes(sender.pid) == size * times
    assert consumer.received_bytes(receiver.pid) == size * times
