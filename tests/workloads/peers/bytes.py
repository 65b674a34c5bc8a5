"""Peers that move bytes in every way, each a number that the test knows."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time

from peers.common import (
    LOOPBACK,
    Steps,
    aside,
    call,
    connection,
    datagram_client,
    datagram_socket,
    exactly,
    fork,
    listen,
)

IPPROTO_MPTCP = 262
IPPROTO_UDP, UDP_CORK, UDP_SEGMENT = 17, 1, 103
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000


def stream(address: str) -> Steps:
    client, server = connection(address)
    yield
    for _ in range(23):
        client.sendall(b"x" * 7)
    exactly(server, 161)
    yield


def short_connections(address: str) -> Steps:
    listener = listen(address)
    yield
    for _ in range(29):
        client = call(listener)
        server, _ = listener.accept()
        client.sendall(b"q" * 13)
        exactly(server, 13)
        server.sendall(b"a" * 31)
        exactly(client, 31)
        client.close()
        server.close()
    yield


def datagrams(address: str, connected: int) -> Steps:
    server = datagram_socket(address)
    there = server.getsockname()[:2]
    client = socket.socket(server.family, socket.SOCK_DGRAM)
    if connected:
        client.connect(there)
    yield
    for _ in range(23):
        if connected:
            client.send(b"x" * 7)
        else:
            client.sendto(b"x" * 7, there)
        server.recv(100)
    yield


def short_lived_datagram_sockets(address: str) -> Steps:
    server = datagram_socket(address)
    yield
    for _ in range(37):
        one = datagram_client(server)
        one.send(b"q" * 17)
        _, back = server.recvfrom(100)
        server.sendto(b"a" * 19, back)
        one.recv(100)
        one.close()
    yield


def segmentation_offload_and_cork(address: str) -> Steps:
    server = datagram_socket(address)
    client = datagram_client(server)
    yield
    client.setsockopt(IPPROTO_UDP, UDP_SEGMENT, 7)
    client.send(b"x" * 161)
    for _ in range(23):
        server.recv(100)
    client.setsockopt(IPPROTO_UDP, UDP_SEGMENT, 0)
    client.setsockopt(IPPROTO_UDP, UDP_CORK, 1)
    client.send(b"y" * 11)
    client.send(b"z" * 13)
    client.setsockopt(IPPROTO_UDP, UDP_CORK, 0)
    server.recv(100)
    yield


def peek(address: str) -> Steps:
    client, server = connection(address)
    yield
    client.sendall(b"x" * 31)
    for _ in range(3):
        server.recv(100, socket.MSG_PEEK)
    exactly(server, 31)
    yield


def partial_sends(address: str) -> Steps:
    """1,000,003 bytes through a full, non-blocking socket."""
    client, server = connection(address)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    client.setblocking(False)
    left = 1_000_003
    reader = threading.Thread(target=exactly, args=(server, left))
    yield
    for _ in range(50):  # until it is full, because the reader has not begun
        try:
            left -= client.send(b"x" * min(left, 8191))
        except BlockingIOError:
            break
    reader.start()
    while left:
        select.select([], [client], [])
        try:
            left -= client.send(b"x" * min(left, 8191))
        except BlockingIOError:
            continue
    reader.join()
    yield


def sendfile_and_splice(address: str) -> Steps:
    import tempfile

    client, server = connection(address)
    with tempfile.TemporaryFile() as file:
        file.write(b"f" * 10_007)
        file.flush()
        yield
        sent = 0
        while sent < 10_007:
            sent += os.sendfile(client.fileno(), file.fileno(), sent, 10_007 - sent)
    exactly(server, 10_007)
    out, into = os.pipe()
    os.write(into, b"s" * 1_009)
    os.splice(out, client.fileno(), 1_009)
    exactly(server, 1_009)
    yield


def zerocopy(address: str) -> Steps:
    client, server = connection(address)
    client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    yield
    client.send(b"z" * 10_007, MSG_ZEROCOPY)
    exactly(server, 10_007)
    select.select([], [], [client], 1)
    client.recvmsg(100, 512, socket.MSG_ERRQUEUE)
    yield


def multipath() -> Steps:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    listener.bind((LOOPBACK, 0))
    listener.listen()
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    yield
    for _ in range(23):
        client.sendall(b"x" * 7)
    exactly(server, 161)
    client.close()
    server.close()
    yield


def read_after_reset() -> Steps:
    client, server = connection()
    yield
    client.sendall(b"x" * 101)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    exactly(server, 101)
    server.close()
    yield


def two_processes() -> Steps:
    """Both send on the same socket, in turns."""
    client, server = connection()
    gate_in, gate_out = os.pipe()
    back_in, back_out = os.pipe()

    def send_in_turns() -> None:
        os.close(gate_out)  # or its own descriptor keeps the pipe open for ever
        while os.read(gate_in, 1):
            client.sendall(b"c" * 13)
            os.write(back_out, b".")

    yield fork(send_in_turns)
    for _ in range(31):
        client.sendall(b"p" * 7)
        os.write(gate_out, b".")
        os.read(back_in, 1)
    exactly(server, 31 * 20)
    yield


def passed_socket() -> Steps:
    client, server = connection()
    ours, theirs = socket.socketpair()

    def take_over() -> None:
        client.close()
        _, (passed,), _, _ = socket.recv_fds(theirs, 1, 1)
        socket.socket(fileno=passed).sendall(b"c" * 43)

    yield fork(take_over)
    client.sendall(b"p" * 17)
    socket.send_fds(ours, [b"."], [client.fileno()])
    client.close()
    exactly(server, 60)
    yield


def splice_from_socket() -> Steps:
    client, server = connection()
    out, into = os.pipe()
    yield
    client.sendall(b"x" * 1_009)
    moved = 0
    while moved < 1_009:
        moved += os.splice(server.fileno(), into, 1_009 - moved)
    yield
    os.close(out)


def io_uring() -> Steps:
    """The last receive has to wait, and another thread of the kernel finishes it."""
    import ctypes

    from uring import Ring

    client, server = connection()
    ring = Ring()
    out, into = ctypes.create_string_buffer(b"x" * 101, 101), ctypes.create_string_buffer(1009)
    yield
    for _ in range(7):
        assert ring.send(client, out) == 101
    got = 0
    while got < 707:
        got += ring.receive(server, into)

    def later() -> None:
        time.sleep(0.05)
        client.send(b"y" * 53)

    aside(later)
    assert ring.receive(server, into) == 53
    yield
