"""Peers whose every call is traced."""

from __future__ import annotations

import socket
from contextlib import suppress

from peers.common import Steps, call, datagram_client, datagram_socket, listen


def each_call() -> Steps:
    """Yields the ports of both sockets."""
    listener = listen()
    yield
    client = call(listener)
    server, _ = listener.accept()
    client.setblocking(False)
    with suppress(BlockingIOError):
        client.recv(100)
    client.send(b"x" * 7)
    server.recv(100, socket.MSG_PEEK)
    server.recv(100)
    yield client.getsockname()[1], listener.getsockname()[1]


def flood(rounds: int) -> Steps:
    """64-byte datagrams to itself, as fast as Python makes the calls."""
    server = datagram_socket()
    client = datagram_client(server)
    yield
    for _ in range(rounds):
        client.send(bytes(64))
        server.recv(64)
    yield
