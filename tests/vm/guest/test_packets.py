"""Packets by protocol of VLAN and GRE interfaces, and of the interface below them, exactly.

Not on every kernel: VLAN and GRE are modules.  VXLAN is in tests/ebpf/test_packets.py.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections import Counter

import pytest
from ebpf.test_packets import METRICS, counted, pair, run

__all__ = ["pair"]
LIMIT_S = 240
TCX_SINCE = 6, 6
PORT = 7007
# What is sent through each: datagrams and their payload, echo requests and theirs.
LOADS = {"vlan": (23, 101, 3, 56), "gre": (29, 211, 5, 64), "gretap": (31, 307, 7, 72)}
SUBNETS = {"vlan": "10.9.7", "gre": "10.9.8", "gretap": "10.9.9"}
ETHERNET, IPV4, UDP_OR_ICMP, GRE = 14, 20, 8, 4
# Headers before that of IPv4: on the interface itself, and on the one below.  The tag of a VLAN
# is beside the packet on both sides of a veth pair.
OWN = {"vlan": ETHERNET, "gre": 0, "gretap": ETHERNET}
BELOW = {
    "vlan": ETHERNET,
    "gre": ETHERNET + IPV4 + GRE,
    "gretap": ETHERNET + IPV4 + GRE + ETHERNET,
}
RECEIVE = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("0.0.0.0", {PORT}))
    print("ready", flush=True)
    for _ in range(int(sys.argv[1])): one.recv(2048)
"""
SEND = f"""
import socket, struct, sys
address, *numbers = sys.argv[1:]
datagrams, size, echoes, echo_size = map(int, numbers)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    for _ in range(datagrams): one.sendto(bytes(size), (address, {PORT}))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as one:
    one.settimeout(60)
    for _ in range(echoes):
        one.sendto(struct.pack("!BBHI", 8, 0, 0xf7ff, 0) + bytes(echo_size), (address, 0))
        one.recv(2048)
"""


def kernel_version():
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups()))


@pytest.fixture
def tunnels(pair):
    """A VLAN, a GRE and a GRE with Ethernet (gretap) between the two sides of the pair."""
    subprocess.run(["modprobe", "-a", "veth", "8021q", "ip_gre"], check=True)
    for one, name, host in ((pair[0], "va", 1), (pair[1], "vb", 2)):
        mac = f"02:00:00:00:00:0{host}"
        addresses = f"local 10.9.0.{host} remote 10.9.0.{3 - host}"
        one.run(*f"ip link add link {name} name vlan type vlan id 7".split())
        one.run(*f"ip link add gre type gre {addresses}".split())
        one.run(*f"ip link add gretap address {mac} type gretap {addresses} key 5".split())
        for kind, subnet in SUBNETS.items():
            one.run(*f"ip addr add {subnet}.{host}/24 dev {kind}".split())
            one.run(*f"ip link set {kind} up".split())
            if kind != "gre":
                there = f"{subnet}.{3 - host} lladdr 02:00:00:00:00:0{3 - host}"
                one.run(*f"ip neigh add {there} dev {kind}".split())
    return pair


def load(kind, before, ways):
    """Packets and bytes of one interface's load with such headers, of datagrams and echoes."""
    datagrams, size, echoes, echo_size = LOADS[kind]
    sent = {
        "udp": (datagrams, before + IPV4 + UDP_OR_ICMP + size),
        "icmp": (echoes, before + IPV4 + UDP_OR_ICMP + echo_size),
    }
    return {
        carried: (count, count * each) for carried, (count, each) in sent.items() if carried in ways
    }


def total(*loads):
    """Add up loads, with what all of them are: IPv4."""
    packets, sizes = Counter(), Counter()
    for carried, (count, size) in (item for one in loads for item in one.items()):
        for kind in (carried, "ipv4"):
            packets[kind] += count
            sizes[kind] += size
    return {kind: [packets[kind], sizes[kind]] for kind in packets}


def below(ways):
    """What the interface below has: the load of the VLAN by protocol, that of GRE as `other`."""
    loads = [load("vlan", BELOW["vlan"], ways)]
    for kind in ("gre", "gretap"):
        key = 4 if kind == "gretap" else 0
        loads += [{"other": one} for one in load(kind, BELOW[kind] + key, ways).values()]
    return total(*loads)


@pytest.mark.parametrize("hook", ["tcx", "xdp", "xdp-native"])
def test_packets_of_tunnels_and_of_what_carries_them(tunnels, start_probe, hook):
    here, there = tunnels
    has_tcx = kernel_version() >= TCX_SINCE
    if hook == "tcx" and not has_tcx:
        pytest.skip("no tcx before Linux 6.6")
    probe = start_probe(
        "--interval", "0.5", *METRICS, "--packets-hook", hook, namespace=there, user="root"
    )
    probe.wait_for_stderr("source", LIMIT_S)
    probe.wait_for_intervals(1, LIMIT_S)
    datagrams = sum(one[0] for one in LOADS.values())
    words = [*there.command("root"), sys.executable, "-c", RECEIVE, str(datagrams)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout.readline() == b"ready\n"
        for kind, subnet in SUBNETS.items():
            run(here, SEND, f"{subnet}.2", *LOADS[kind])
        assert receiver.wait(LIMIT_S) == 0
    kinds = {"tcx": tuple(LOADS), "xdp": ("vlan", "gretap"), "xdp-native": ()}[hook]
    wanted = {(kind, "rx"): total(load(kind, OWN[kind], ("udp", "icmp"))) for kind in kinds}
    wanted["vb", "rx"] = below(("udp", "icmp"))
    if has_tcx:
        wanted |= {(kind, "tx"): total(load(kind, OWN[kind], ("icmp",))) for kind in kinds}
        wanted["vb", "tx"] = below(("icmp",))

    def found(consumer):
        return {key: counted(consumer, *key) for key in wanted}

    try:
        probe.wait_for(lambda c: found(c) == wanted, 30)
    finally:
        print(probe.stderr.decode(), wanted, found(probe.consumer), sep="\n")
    for kind in set(LOADS) - set(kinds):
        assert f"no packets of {kind}: ".encode() in probe.stderr
    probe.stop()
