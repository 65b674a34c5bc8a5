"""A worker that moves bytes around the plain send and recv: each way in a process of its own.

Both sockets of a way are in one process, so what it sent it also received.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import path_datagrams as udp
import path_streams as tcp
from talk import die_with_parent, failed, hello, report

V6 = socket.AF_INET6
MAPPED = "::ffff:127.0.0.1"

Open = Callable[[], tcp.Pair]
Move = Callable[[tcp.Pair, int], tcp.Moved]
PATHS: dict[str, tuple[Open, Move]] = {
    "stream": (tcp.stream, tcp.plain),
    "stream_v6": (lambda: tcp.stream("::1", family=V6), tcp.plain),
    "stream_v4_mapped": (lambda: tcp.stream(MAPPED, family=V6), tcp.plain),
    "sendfile": (tcp.stream, tcp.sendfile),
    "splice_out": (tcp.stream, tcp.splice_out),
    "splice_in": (tcp.stream, tcp.splice_in),
    "peek": (tcp.stream, tcp.peek),
    "discard": (tcp.stream, tcp.discard),
    "urgent": (tcp.stream, tcp.urgent),
    "vectors": (tcp.stream, tcp.vectors),
    "read_write": (tcp.stream, tcp.read_write),
    "zerocopy": (tcp.stream, tcp.zerocopy),
    "zerocopy_receive": (tcp.stream, tcp.zerocopy_receive),
    "full_buffer": (tcp.stream, tcp.full_buffer),
    "fast_open": (tcp.fast_open, tcp.plain),
    "half_closed": (tcp.stream, tcp.half_closed),
    "after_reset": (tcp.stream, tcp.after_reset),
    "ring": (tcp.stream, tcp.ring),
    "ring_multishot": (tcp.stream, tcp.ring_multishot),
    "ring_zerocopy": (tcp.stream, tcp.ring_zerocopy),
    "tls": (tcp.stream, tcp.tls),
    "mptcp": (tcp.multipath, tcp.plain),
    "udp": (udp.datagram, udp.plain),
    "udp_unconnected": (udp.unconnected, udp.to_address),
    "udp_v6": (lambda: udp.datagram("::1", V6), udp.plain),
    "udp_v4_mapped": (lambda: udp.datagram(MAPPED, V6), udp.plain),
    "udp_unconnected_v6": (lambda: udp.unconnected("::1", V6), udp.to_address),
    "udp_peek": (udp.datagram, udp.peek),
    "udp_cut_short": (udp.datagram, udp.cut_short),
    "udp_whole_length": (udp.datagram, udp.whole_length),
    "udp_segments": (udp.datagram, udp.segments),
    "udp_coalesced": (udp.datagram, udp.coalesced),
    "udp_cork": (udp.datagram, udp.cork),
    "udp_batches": (udp.datagram, udp.batches),
    "udp_ring": (udp.datagram, udp.ring),
}


class Mover:
    """A process with both sockets of one way; it stays, with its sockets open."""

    def __init__(self, name: str) -> None:
        """Raises OSError where this kernel does not have it."""
        go, self._go = os.pipe()
        self._reports, writable = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            die_with_parent()
            _serve(*PATHS[name], go, writable)
        os.close(go)
        os.close(writable)
        self._answer()

    def move(self, count: int) -> dict[str, Any]:
        """Move `count` bytes; what it sent and received."""
        os.write(self._go, struct.pack("=Q", count))
        return self._answer()

    def close(self) -> dict[str, Any]:
        """Close the sockets; the process stays."""
        return self.move(0)

    def _answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(os.read(self._reports, 4096))
        if number := found.get("errno"):
            raise OSError(number, os.strerror(number))
        return found


def _serve(opened: Open, moving: Move, go: int, writable: int) -> NoReturn:
    """Open both sockets, then move as many bytes as a word names; the next word closes them."""
    try:
        pair = opened()
        os.write(writable, b"{}")
        (count,) = struct.unpack("=Q", os.read(go, 8))
        sent, received = moving(pair, count)
        os.write(writable, json.dumps({"sent": sent, "received": received}).encode())
        os.read(go, 8)
        for sock in pair:
            sock.close()
        os.write(writable, b"{}")
    except OSError as error:
        os.write(writable, json.dumps({"errno": error.errno}).encode())
    while True:
        signal.pause()  # until the parent exits


def run() -> None:
    """Obey stdin: `open NAME`, `move NAME COUNT`, `close NAME`."""
    hello("paths")
    movers: dict[str, Mover] = {}
    for line in sys.stdin:
        verb, name, *count = line.split()
        try:
            if verb == "open":
                movers[name] = Mover(name)
                report(verb, pid=movers[name].pid)
            elif verb == "move":
                report(verb, **movers[name].move(int(*count)))
            else:
                report(verb, **movers[name].close())
        except OSError as error:
            failed(verb, error)
