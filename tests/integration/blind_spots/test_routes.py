"""Interfaces: of a datagram, behind NAT, by rules and next hops, of other namespaces."""

from __future__ import annotations

import json

import pytest
from support.conversation import transfer

BYTES = 1_000_003
SERVICE, OWN = "10.23.41.2", "10.23.43.2"
MOST_TRIES = 16  # of two paths, all choose the same one once in 65,536 times


def carriers(consumer, pid):
    return {r.entity_id for r in consumer.process_bandwidth(pid)}


def transmitted(netns):
    """Bytes that each interface but lo has sent."""
    links = json.loads(netns.run("ip", "-s", "-j", "link", "show", "up"))
    return {one["ifname"]: one["stats64"]["tx"]["bytes"] for one in links if one["ifname"] != "lo"}


def test_the_interface_of_unconnected_udp(probe, worker, agrees, backend):
    """Its route is looked up for each datagram and kept nowhere."""
    if not backend.sees("udp_bytes"):
        pytest.skip("no UDP bytes at all, which is declared and tested")
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker()
    port = receiver.ask("bind")["port"]
    sender.ask("send_to", "127.0.0.1", port, 1_009, 23)
    running.wait_for_intervals(3)
    (reported,) = {r.entity_id for r in running.stop().process_bandwidth(sender.pid)}
    assert reported in {"lo", "unknown"}
    agrees("udp_interface", reported == "lo")


def test_connections_that_the_hosts_own_nat_redirects(
    probe, worker, agrees, backend, netns, make_netns
):
    """A service behind REDIRECT, as a transparent proxy is: no packet leaves the host."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes of processes at all, which is declared and tested")
    here, _ = netns.join(make_netns(beside=netns))
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker()
    port = receiver.ask("listen", "0.0.0.0")["port"]
    netns.run(
        "nft",
        "add table ip test; "
        "add chain ip test output { type nat hook output priority -100; }; "
        f"add rule ip test output ip daddr 10.23.29.2 tcp dport 4243 redirect to :{port}",
    )
    sender.connect("10.23.29.2", 4243)
    receiver.ask("accept")
    transfer(sender, receiver, BYTES)
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    (reported,) = carriers(running.stop(), sender.pid)
    assert reported in {here, "lo"}
    agrees("local_nat", reported == "lo")


def test_routes_that_a_rule_chooses_by_port(probe, worker, agrees, backend, netns, make_netns):
    """The routing tables are asked about two addresses: nothing else of a packet is known."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes of processes at all, which is declared and tested")
    distant = make_netns(beside=netns)
    usual, _ = netns.join(distant)
    chosen, _ = netns.join(distant, subnet="10.23.37")
    distant.run(*f"ip address add {SERVICE}/32 dev lo".split())
    netns.run(*f"ip route add {SERVICE} via 10.23.29.2 dev {usual}".split())
    netns.run(*f"ip route add {SERVICE} via 10.23.37.2 dev {chosen} table 101".split())
    running = probe("--min-bw", 0)
    receiver, sender = worker(namespace=distant), worker()
    port = receiver.ask("listen", SERVICE)["port"]
    netns.run(*f"ip rule add ipproto tcp dport {port} lookup 101".split())
    sender.connect(SERVICE, port)
    receiver.ask("accept")
    transfer(sender, receiver, BYTES)
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    (reported,) = carriers(running.stop(), sender.pid)
    assert reported in {usual, chosen}
    agrees("policy_routes", reported == chosen)


def test_routes_whose_next_hops_ports_choose(probe, worker, agrees, backend, netns, make_netns):
    """Several paths to one address, as in a fabric: a lookup without ports gives one of them.

    Newer kernels prefer the path whose interface has the source address; this one is of none.
    """
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes of processes at all, which is declared and tested")
    distant = make_netns(beside=netns)
    netns.join(distant)
    netns.join(distant, subnet="10.23.37")
    distant.run(*f"ip address add {SERVICE}/32 dev lo".split())
    netns.run(*f"ip address add {OWN}/32 dev lo".split())
    hops = "nexthop via 10.23.29.2 nexthop via 10.23.37.2"
    netns.run(*f"ip route add {SERVICE} src {OWN} {hops}".split())
    netns.run("sysctl", "-q", "-w", "net.ipv4.fib_multipath_hash_policy=1")
    distant.run(*f"ip route add {OWN} via 10.23.29.1".split())
    words = netns.run(*f"ip route get {SERVICE} from {OWN}".split()).split()
    usual = words[words.index("dev") + 1]
    running = probe("--min-bw", 0)
    for _ in range(MOST_TRIES):
        receiver, sender = worker(namespace=distant), worker()
        sender.connect(SERVICE, receiver.ask("listen", SERVICE)["port"])
        receiver.ask("accept")
        before = transmitted(netns)
        transfer(sender, receiver, BYTES)
        after = transmitted(netns)
        # `ip route get` with the ports does not give what the kernel chose.
        (chosen,) = (name for name in after if after[name] - before[name] >= BYTES)
        if chosen != usual:
            break
    assert chosen != usual
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    (reported,) = carriers(running.stop(), sender.pid)
    assert reported in {usual, chosen}
    agrees("policy_routes", reported == chosen)


def test_packets_of_an_interface_of_another_network_namespace(probe, make_netns, agrees):
    running = probe("--metrics", "bandwidth,stalls,errors,protocols,packets")
    other = make_netns()
    for words in ("link add elsewhere type veth peer name beyond", "link set elsewhere up"):
        other.run("ip", *words.split())
    running.wait_for_intervals(3)
    shown = {r.entity_id for r in running.stop().interface_bandwidth()}
    assert "lo" in shown
    agrees("foreign_packets", "elsewhere" in shown)
