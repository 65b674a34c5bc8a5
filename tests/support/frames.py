"""Frames of each kind of packet, so many times, and what they count as."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from support.consumer_model import Consumer
from support.namespace import Namespace

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


def expected(tag_bytes: int) -> dict[str, list[int]]:
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


def counted(consumer: Consumer, name: str, way: str) -> dict[str, list[int]]:
    """Packets and bytes by kind, added up over the records of an interface."""
    packets, sizes = Counter(), Counter()
    for record in consumer.interface_bandwidth():
        if record.entity_id == name:
            for kind, (count, size) in record.net.get("packets", {}).get(way, {}).items():
                packets[kind] += count
                sizes[kind] += size
    return {kind: [packets[kind], sizes[kind]] for kind in packets}


def run(namespace: Namespace, script: str, *arguments: object) -> str:
    words = [*namespace.command("root"), sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
