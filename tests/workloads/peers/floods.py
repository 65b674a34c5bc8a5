"""Peers that do one thing thousands of times, as the user that they are given."""

from __future__ import annotations

import errno
import os
import resource
import socket

from peers.common import LOOPBACK, Steps, aside


def connects(uid: int, count: int, port: int) -> Steps:
    """Connects that begin and are not waited for."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    os.setuid(uid)
    held = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((LOOPBACK, port))
        held.append(client)
    yield


def refused(uid: int, count: int, port: int) -> Steps:
    """Connects to a port without a listener."""
    os.setuid(uid)
    for _ in range(count):
        with socket.socket() as client:
            assert client.connect_ex((LOOPBACK, port)) == errno.ECONNREFUSED
    yield


def full_listener() -> Steps:
    """A listener whose queue one connection fills: later handshakes get no answer.  Its port."""
    listener = socket.socket()
    listener.bind((LOOPBACK, 0))
    listener.listen(0)
    _held = socket.create_connection(listener.getsockname())
    yield listener.getsockname()[1]


def many_addresses(count: int, question: int) -> Steps:
    """One request with its reply to each of `count` loopback addresses, which one listener has."""
    listener = socket.create_server(("0.0.0.0", 0), backlog=128)
    port = listener.getsockname()[1]

    def serve() -> None:
        while True:
            with listener.accept()[0] as server:
                server.recv(question)
                server.sendall(b"a")

    aside(serve)
    for number in range(count):
        address = f"127.23.{number >> 8}.{number & 255}"
        with socket.create_connection((address, port)) as client:
            client.sendall(bytes(question))
            client.recv(1)
    yield
