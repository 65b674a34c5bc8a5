"""Packets of interfaces that this kernel can make, and the host's may not: VLAN and GRE."""

from __future__ import annotations

import subprocess

import pytest
from support.frames import FRAMES, counted, expected, run

LIMIT_S = 120
HERE, THERE = 1, 2
METRICS = ("--metrics", "bandwidth,packets")
HEADERS = 14 + 20 + 4  # Ethernet, IPv4 and GRE, of a tunnel for frames


@pytest.fixture
def pair(netns, make_netns):
    """Two namespaces with a wire, on which nothing passes but what a test sends."""
    other = make_netns()
    subprocess.run(("modprobe", "-a", "veth", "8021q", "ip_gre"), check=True)
    for one in (netns, other):
        one.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    there = f"vb address 02:00:00:00:00:02 netns {other.pid}"
    netns.run("ip", *f"link add va address 02:00:00:00:00:01 type veth peer name {there}".split())
    for one, name, host in ((netns, "va", HERE), (other, "vb", THERE)):
        one.run("ip", "addr", "add", f"10.9.0.{host}/24", "dev", name)
        beside = HERE + THERE - host
        one.run(
            "ip", *f"neigh add 10.9.0.{beside} lladdr 02:00:00:00:00:0{beside} dev {name}".split()
        )
        one.run("ip", "link", "set", name, "up")
    return netns, other


def on_top(kind, host, below):
    """The words that make the interface `t0` of a host on top of the wire."""
    made = f"name t0 address 02:00:00:00:00:0{host} type {kind}"
    ends = f"local 10.9.0.{host} remote 10.9.0.{HERE + THERE - host}"
    return f"{made} {ends}" if kind == "gretap" else f"link {below} {made} id 7"


def total(kinds):
    """Packets and bytes of all frames; ARP has no IP version."""
    rows = [kinds["ipv4"], kinds["ipv6"], [31, 31 * 60]]
    return [sum(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("hook", ["tcx", "xdp"])
@pytest.mark.parametrize("kind", ["vlan", "gretap"])
def test_what_an_interface_on_top_carries_and_what_carries_it(
    backend, start_probe, pair, kind, hook
):
    """Its packets on itself; on the one below with the outer headers, a tag aside or inside."""
    if backend.source.startswith("proc"):
        pytest.skip("packets are of the kernel source")
    for one, host, below in zip(pair, (HERE, THERE), ("va", "vb"), strict=True):
        one.run("ip", "link", "add", *on_top(kind, host, below).split())
        one.run("ip", "link", "set", "t0", "up")
    sends, receives = (
        start_probe(
            *backend.options, "--interval", 0.5, *METRICS, "--packets-hook", hook,
            namespace=one, user="root",
        )
        for one in pair
    )  # fmt: skip
    for probe in (sends, receives):
        probe.wait_for_stderr("source", backend.start_s)
        probe.wait_ready()
    run(pair[0], FRAMES.replace('"va"', '"t0"'))
    below = {}
    for probe, name, way in ((sends, "va", "tx"), (receives, "vb", "rx")):
        probe.wait_for(lambda c, way=way: sum(counted(c, "t0", way).get("tcp", [0])) > 0, LIMIT_S)
        probe.wait_for_intervals(3)
        top, below[way] = (counted(probe.consumer, one, way) for one in ("t0", name))
        tag_bytes = 4 if way == "tx" or hook == "xdp" else 0
        assert top == expected(tag_bytes)
        packets, size = total(expected(4))
        print(kind, hook, way, below[way], packets, size)
        probe.stop()
