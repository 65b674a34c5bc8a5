"""The route decides through which interface a process's bytes go, not the address."""

from __future__ import annotations

import pytest

BYTES = 3_000_017
SERVICE, THERE = "10.23.31.7", "10.23.41.2"


@pytest.fixture
def elsewhere(make_netns, netns):
    return make_netns(beside=netns)


def connected(worker, elsewhere, host):
    """A sender here and a receiver there."""
    receiver, sender = worker(namespace=elsewhere), worker()
    port = receiver.ask("listen", host)["port"]
    sender.connect(host, port)
    receiver.ask("accept")
    return sender, receiver


def transfer(sender, receiver):
    receiver.begin("recv", BYTES)
    sender.ask("send", BYTES)
    receiver.expect("recv")
    sender.ask("settle")


def carried(consumer, pid):
    """Bytes sent, by interface."""
    sums = {}
    for record in consumer.process_bandwidth(pid):
        interface = record.entity_id
        sums[interface] = sums.get(interface, 0) + record.net["tx_bytes"]
    return sums


@pytest.mark.parametrize("named", [False, True], ids=["all", "that interface"])
def test_an_address_with_a_label_is_no_interface(probe, worker, netns, elsewhere, named):
    """keepalived and ifup name addresses eth0:1; the bytes are of eth0, and found there."""
    here, _ = netns.join(elsewhere)
    netns.run(*f"ip address add 10.23.29.9/24 dev {here} label {here}:1".split())
    netns.run(*f"ip route add 10.23.29.2 dev {here} src 10.23.29.9".split())
    running = probe("--min-bw", 0, *(["--interface", here] if named else []))
    sender, receiver = connected(worker, elsewhere, "10.23.29.2")
    transfer(sender, receiver)
    running.wait_for_intervals(3)
    assert carried(running.stop(), sender.pid) == {here: BYTES}


def test_a_service_address_on_loopback_is_not_loopback(probe, worker, netns, elsewhere):
    """Anycast, and load balancing by direct return: the packets leave by the route."""
    here, there = netns.join(elsewhere)
    netns.run(*f"ip address add {SERVICE}/32 dev lo".split())
    elsewhere.run(*f"ip route add {SERVICE} via 10.23.29.1 dev {there}".split())
    running = probe("--min-bw", 0)
    service, client = worker(), worker(namespace=elsewhere)
    port = service.ask("listen", SERVICE)["port"]
    client.connect(SERVICE, port)
    service.ask("accept")
    transfer(service, client)
    running.wait_for_intervals(3)
    assert carried(running.stop(), service.pid) == {here: BYTES}


def test_a_way_that_changes_is_followed(probe, worker, netns, elsewhere):
    """A connection outlives its first route: what it moves later goes by the new interface."""
    first, there = netns.join(elsewhere)
    second, back = netns.join(elsewhere, subnet="10.23.37")
    netns.run(*f"ip address add {SERVICE}/32 dev lo".split())
    elsewhere.run(*f"ip address add {THERE}/32 dev lo".split())
    netns.run(*f"ip route add {THERE} via 10.23.29.2 dev {first} src {SERVICE}".split())
    elsewhere.run(*f"ip route add {SERVICE} via 10.23.29.1 dev {there}".split())
    running = probe("--min-bw", 0)
    sender, receiver = connected(worker, elsewhere, THERE)
    transfer(sender, receiver)
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    netns.run(*f"ip route replace {THERE} via 10.23.37.2 dev {second} src {SERVICE}".split())
    elsewhere.run(*f"ip route replace {SERVICE} via 10.23.37.1 dev {back}".split())
    running.wait_for_intervals(2)
    transfer(sender, receiver)
    running.wait_for_intervals(3)
    assert carried(running.stop(), sender.pid) == {first: BYTES, second: BYTES}
