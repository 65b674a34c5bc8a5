"""Packets of interfaces by protocol: exact counts of frames and streams of the test's own."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from support.require import require

METRICS = ("--metrics", "bandwidth,stalls,errors,packets")
PAYLOAD_BYTES = 3_000_017
# One frame of each kind, so many times: the numbers are odd primes, the lengths differ.
FRAMES = """
import socket, struct
MACS = bytes.fromhex("020000000002020000000001")
def ipv4(protocol, size, fragment=0):
    head = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + size, 7, fragment, 64, protocol, 0,
                       bytes((10, 9, 0, 1)), bytes((10, 9, 0, 2)))
    return b"\\x08\\0", head + bytes(size)
def ipv6(protocol, body):
    return b"\\x86\\xdd", struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + bytes(32) + body
def extended(protocol, *headers):
    body = b"".join(bytes((after, 0)) + bytes(6) for after in (*headers[1:], protocol))
    return ipv6(headers[0], body + bytes(24))
def tagged(kind, body):
    return b"\\x81\\0", struct.pack("!H", 7) + kind + body
frames = (
    (3, ipv4(6, 40)), (5, ipv4(17, 30)), (7, ipv4(1, 26)), (11, ipv6(58, bytes(16))),
    (13, ipv6(6, bytes(33))), (17, ipv4(17, 64, 1 << 13)), (19, ipv4(17, 72, 5)),
    (23, extended(17, 0, 44)), (29, ipv4(47, 31)), (31, (b"\\x08\\x06", bytes(46))),
    (37, tagged(*ipv4(6, 41))),
)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
    one.bind(("va", 0))
    for count, (kind, body) in frames:
        for _ in range(count):
            one.send(MACS + kind + body)
"""


def expected(tag_bytes):
    """What these frames count as; a tag is no part of a packet where the kernel has it aside."""
    rows = {
        "tcp": ((3, 74), (13, 87), (37, 75 + tag_bytes)),
        "udp": ((5, 64), (17, 98), (19, 106), (23, 94)),
        "icmp": ((7, 60),),
        "icmpv6": ((11, 70),),
        "other": ((29, 65), (31, 60)),
        "ipv4": ((3, 74), (5, 64), (7, 60), (17, 98), (19, 106), (29, 65), (37, 75 + tag_bytes)),
        "ipv6": ((11, 70), (13, 87), (23, 94)),
        "fragments": ((17, 98), (19, 106), (23, 94)),
    }
    return {
        kind: [sum(n for n, _ in ones), sum(n * size for n, size in ones)]
        for kind, ones in rows.items()
    }


@pytest.fixture
def pair(netns, make_netns):
    """`va` here, `vb` in another namespace, without neighbour discovery of their own."""
    other = make_netns()
    for one in (netns, other):
        one.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    there = f"vb address 02:00:00:00:00:02 netns {other.pid}"
    words = f"link add va address 02:00:00:00:00:01 type veth peer name {there}"
    netns.run("ip", *words.split())
    for one, name, host in ((netns, "va", 1), (other, "vb", 2)):
        one.run("ip", "addr", "add", f"10.9.0.{host}/24", "dev", name)
        one.run("ip", "neigh", "add", f"10.9.0.{3 - host}", "lladdr", f"02:00:00:00:00:0{3 - host}",
                "dev", name)  # fmt: skip
        one.run("ip", "link", "set", name, "up")
    return netns, other


@pytest.fixture
def counting(start_probe):
    def start(namespace, *options):
        probe = start_probe(
            "--interval", "0.2", *METRICS, *options, namespace=namespace, user="root"
        )
        probe.wait_ready()
        if b"no packets" in probe.stderr:
            require(False, probe.stderr.decode())
        return probe

    return start


def counted(consumer, name, way):
    """Packets and bytes by kind, added up over the records of an interface."""
    packets, sizes = Counter(), Counter()
    for record in consumer.interface_bandwidth():
        if record.entity_id == name:
            for kind, (count, size) in record.net.get("packets", {}).get(way, {}).items():
                packets[kind] += count
                sizes[kind] += size
    return {kind: [packets[kind], sizes[kind]] for kind in packets}


def run(namespace, script, *arguments):
    words = [*namespace.command("root"), sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("hook", "tag_bytes"), [("tcx", 0), ("xdp", 4), ("xdp-native", 4)], ids=str
)
def test_frames_of_each_kind(pair, counting, hook, tag_bytes):
    here, there = pair
    sends, receives = counting(here), counting(there, "--packets-hook", hook)
    run(here, FRAMES)
    for probe, name, way, tag in ((sends, "va", "tx", 4), (receives, "vb", "rx", tag_bytes)):
        wanted = expected(tag)
        probe.wait_for(
            lambda c, name=name, way=way, wanted=wanted: (
                counted(c, name, way).get("tcp", [0])[0] >= wanted["tcp"][0]
            )
        )
        assert counted(probe.consumer, name, way) == wanted
        probe.stop()


STREAM = f"""
import socket, sys
if sys.argv[1] == "listen":
    with socket.create_server(("10.9.0.2", 7007)) as listener:
        print("ready", flush=True)
        one, _ = listener.accept()
        while one.recv(1 << 16): pass
        one.shutdown(socket.SHUT_WR)
else:
    with socket.create_connection(("10.9.0.2", 7007)) as one:
        one.sendall(bytes({PAYLOAD_BYTES}))
        one.shutdown(socket.SHUT_WR)
        while one.recv(100): pass
        info = one.getsockopt(socket.IPPROTO_TCP, 11, 216)
        print(*(int.from_bytes(info[at:end], "little") for at, end in ((208, 216), (136, 140))))
"""  # tcpi_bytes_retrans and tcpi_segs_out of TCP_INFO


# SIOCETHTOOL of netdevice(7) with ETHTOOL_STSO, ETHTOOL_SGSO and ETHTOOL_SGRO
OFFLOADS = """
import array, fcntl, socket, struct, sys
name, *settings = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    for setting in settings:
        value = array.array("I", map(int, setting.split("=")))
        at = value.buffer_info()[0]
        fcntl.ioctl(any_socket, 0x8946, struct.pack("16sQ16x", name.encode(), at))
"""
TSO, GSO, GRO = 0x1F, 0x24, 0x2C


def send_stream(pair):
    """Send one stream; how many of its bytes were sent again, and all of its segments."""
    here, there = pair
    words = [*there.command("root"), sys.executable, "-c", STREAM, "listen"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as listener:
        assert listener.stdout.readline() == b"ready\n"
        again, segments = map(int, run(here, STREAM, "send").split())
    return again, segments


def stream_bytes(counts):
    """Bytes of the stream in packets with 14 + 20 + 32 bytes of headers; the SYN has 8 more."""
    packets, size = counts["tcp"]
    return size - packets * 66 - 8


def test_a_stream_that_the_kernel_merges(pair, counting):
    """Packets as the hook sees them: their bytes are the stream, and one header each."""
    probe = counting(pair[0])
    again, segments = send_stream(pair)
    sent_bytes = PAYLOAD_BYTES + again
    probe.wait_for(lambda c: counted(c, "va", "tx").get("tcp", [0, 0])[1] > sent_bytes)
    probe.wait_for_intervals(1)
    counts = counted(probe.consumer, "va", "tx")
    assert stream_bytes(counts) == sent_bytes
    assert counts["tcp"][0] < segments  # GSO
    probe.stop()


@pytest.mark.parametrize("hook", ["tcx", "xdp", "xdp-native"])
@pytest.mark.parametrize("gro", [0, 1], ids=["no-gro", "gro"])
def test_a_stream_in_segments(pair, counting, hook, gro):
    """Where the device has no GSO, each segment arrives by itself; only tcx comes after GRO.

    On a busy host the queue of the device may drop some before the hook; they are sent again.
    """
    here, there = pair
    run(here, OFFLOADS, "va", f"{TSO}=0", f"{GSO}=0")
    run(there, OFFLOADS, "vb", f"{GRO}={gro}")
    probe = counting(there, "--packets-hook", hook)
    again, segments = send_stream(pair)

    def has_all(consumer):
        counts = counted(consumer, "vb", "rx")
        return "tcp" in counts and stream_bytes(counts) >= PAYLOAD_BYTES

    probe.wait_for(has_all)
    probe.wait_for_intervals(1)
    counts = counted(probe.consumer, "vb", "rx")
    # Exact where nothing was sent again.
    assert PAYLOAD_BYTES <= stream_bytes(counts) <= PAYLOAD_BYTES + again
    if gro and hook == "tcx":
        assert counts["tcp"][0] < segments
    elif again:
        assert counts["tcp"][0] <= segments
    else:
        assert counts["tcp"][0] == segments
    probe.stop()


def test_a_program_that_is_there_stays(pair, start_probe, counting):
    """One line, and no packets of that interface."""
    _, there = pair
    first = counting(there, "--packets-hook", "xdp")
    second = start_probe(
        "--interval", "0.2", *METRICS, "--packets-hook", "xdp", namespace=there, user="root"
    )
    second.wait_ready()
    assert second.stderr.decode().count("no packets of vb: another XDP program is attached") == 1
    assert all("packets" not in r.net for r in second.consumer.interface_bandwidth())
    second.stop()
    run(pair[0], FRAMES)
    first.wait_for(lambda c: counted(c, "vb", "rx") == expected(4))
    first.process.kill()  # as the kernel does it: nothing of it stays
    first.process.wait()
    third = counting(there, "--packets-hook", "xdp")
    run(pair[0], FRAMES)
    third.wait_for(lambda c: counted(c, "vb", "rx") == expected(4))
    third.stop()


def test_programs_at_one_interface_count_beside_each_other(pair, counting):
    """Two at tcx and one of XDP: none is in the place of another."""
    here, there = pair
    hooks = ("tcx", "tcx", "xdp")
    probes = [counting(there, "--packets-hook", hook) for hook in hooks]
    run(here, FRAMES)
    for probe, hook in zip(probes, hooks, strict=True):
        wanted = expected(4 if hook == "xdp" else 0)
        probe.wait_for(lambda c, wanted=wanted: counted(c, "vb", "rx") == wanted)
        probe.stop()


def test_what_a_tunnel_carries_and_what_carries_it(pair, counting):
    """The packets of a VXLAN on its interface, and as UDP on the one below."""
    here, _ = pair
    words = "type vxlan id 7 dev va remote 10.9.0.2 dstport 4789"
    here.run("ip", "link", "add", "vx", *words.split())
    here.run("ip", "link", "set", "vx", "up")
    probe = counting(here)
    run(here, FRAMES.replace('"va"', '"vx"'))
    probe.wait_for(lambda c: counted(c, "vx", "tx") == expected(4))
    inside = expected(4)
    packets, size = (inside["ipv4"][at] + inside["ipv6"][at] for at in (0, 1))
    packets, size = packets + 31, size + 31 * 60  # ARP
    outside = [packets, size + packets * 50]  # 14 + 20 + 8 + 8 bytes of headers
    probe.wait_for(lambda c: counted(c, "va", "tx").get("udp") == outside)
    probe.stop()


def test_an_interface_that_comes_later_is_counted(netns, counting):
    probe = counting(netns, "--loopback")
    netns.run("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb")
    for name in ("va", "vb"):
        netns.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        netns.run("ip", "link", "set", name, "up")
    for name in ("va", "vb"):
        probe.wait_for(
            lambda c, name=name: [
                r for r in c.interface_bandwidth() if r.entity_id == name and "packets" in r.net
            ]
        )
    run(netns, FRAMES)
    probe.wait_for(lambda c: counted(c, "vb", "rx") == expected(0))
    assert counted(probe.consumer, "va", "tx") == expected(4)
    probe.stop()


TUN = """
import fcntl, struct, sys
with open("/dev/net/tun", "r+b", buffering=0) as tun:
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun", 0x1001))  # IFF_TUN | IFF_NO_PI
    print("ready", flush=True)
    for line in sys.stdin:
        for size in (31, 53):
            head = struct.pack("!BBHHHBBH8s", 69, 0, 20 + size, 7, 0, 64, 17, 0, bytes(8))
            tun.write(head + bytes(size))
"""


def test_packets_without_an_ethernet_header(netns, counting, start_probe):
    """Of a TUN interface, and so of GRE and WireGuard: exact at tcx, and one line with XDP."""
    netns.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    words = [*netns.command("root"), sys.executable, "-c", TUN]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as tun:
        require(tun.stdout.readline() == b"ready\n", "no /dev/net/tun")
        netns.run("ip", "link", "set", "tun", "up")
        refused = start_probe(
            "--interval", "0.2", *METRICS, "--packets-hook", "xdp", namespace=netns, user="root"
        )
        refused.wait_ready()
        reason = b"no packets of tun: its packets have no Ethernet header for XDP"
        assert refused.stderr.count(reason) == 1
        refused.stop()
        probe = counting(netns)
        tun.stdin.write(b"\n")
        tun.stdin.flush()
        wanted = {"udp": [2, 20 + 31 + 20 + 53], "ipv4": [2, 20 + 31 + 20 + 53]}
        probe.wait_for(lambda c: counted(c, "tun", "rx") == wanted)
        probe.stop()
        tun.stdin.close()
