"""What the peers share: connections to themselves, exact receives, bounds of a wait."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# What a peer is: each `yield` is the end of a step, with the value that the test receives.
Steps = Iterator[Any]

LOOPBACK = "127.0.0.1"
LONG_S = 600
UNACKED = 24  # its offset in struct tcp_info, linux/tcp.h
MOST_IN_FLIGHT_MS = 50


def exactly(sock: socket.socket, count: int) -> None:
    """Receive `count` bytes."""
    left = count
    while left:
        got = len(sock.recv(min(65_536, left)))
        assert got, "end of file"
        left -= got


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(address: str = LOOPBACK, port: int = 0) -> socket.socket:
    """A listener on a port of the kernel's choice; `::ffff:127.0.0.1` is IPv4 by IPv6."""
    listener = socket.socket(family(address))
    listener.bind((address, port))
    listener.listen(100)
    return listener


def call(listener: socket.socket) -> socket.socket:
    """A new connection to a listener."""
    client = socket.socket(listener.family)
    client.connect(listener.getsockname()[:2])
    return client


def connection(address: str = LOOPBACK, port: int = 0) -> tuple[socket.socket, socket.socket]:
    """A connection to itself: the socket that called, and the one that accepted."""
    with listen(address, port) as listener:
        client = call(listener)
        return client, listener.accept()[0]


def datagram_socket(address: str = LOOPBACK, port: int = 0) -> socket.socket:
    """A bound UDP socket."""
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def datagram_client(server: socket.socket) -> socket.socket:
    """A UDP socket that is connected to another."""
    sock = socket.socket(server.family, socket.SOCK_DGRAM)
    sock.connect(server.getsockname()[:2])
    return sock


def aside(target: Callable[[], object]) -> threading.Thread:
    """Run it in a thread of its own."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def fork(child: Callable[[], object]) -> int:
    """Run it in a child process, which then stays until this process exits; its pid."""
    gone, held = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(held)
        child()
        os.read(gone, 1)
        os._exit(0)
    os.close(gone)
    return pid


def fill(sock: socket.socket) -> None:
    """Send until not one byte more fits, without waiting in a call.

    On a busy host what was sent arrives later, and makes room once more.
    """
    blocking = sock.getblocking()
    sock.setblocking(False)
    while send_what_fits(sock):
        for _ in range(MOST_IN_FLIGHT_MS):  # or the peer drops it, and it is sent again and again
            if not unacknowledged(sock):
                break
            time.sleep(0.001)
    sock.setblocking(blocking)


def send_what_fits(sock: socket.socket) -> int:
    """Return how many bytes a socket took that does not block."""
    sent = 0
    try:
        while True:
            sent += sock.send(bytes(65_536))
    except BlockingIOError:
        return sent


def unacknowledged(sock: socket.socket) -> int:
    """Return how many segments are in flight."""
    (segments,) = struct.unpack_from(
        "=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED + 4), UNACKED
    )
    return int(segments)


class Bounds:
    """The least and the most that a wait can have lasted, however late a thread got a processor.

    The wait begins during the call `begin` and is over between `release`, which goes before what
    finishes it, and the return of the call `until`.
    """

    def __init__(self) -> None:
        self._released_ns = 0

    def release(self) -> None:
        self._released_ns = time.monotonic_ns()

    def measure(self, begin: Callable[[], object], until: Callable[[], object]) -> list[int]:
        """Make both calls; the bounds in ns."""
        begin_ns = time.monotonic_ns()
        begin()
        begun_ns = time.monotonic_ns()
        until()
        end_ns = time.monotonic_ns()
        return [self._released_ns - begun_ns, end_ns - begin_ns]
