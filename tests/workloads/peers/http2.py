"""Clients of HTTP/2 in the clear, which acknowledge the server's settings before they ask."""

from __future__ import annotations

import socket
import sys
import time
from functools import partial

from peers.common import LONG_S, Bounds, Steps, aside, connection, exactly

SETTINGS = b"\0\0\6\4\0\0\0\0\0\0\4\0\1\0\0"
ACKNOWLEDGED = b"\0\0\0\4\1\0\0\0\0"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
REQUEST = b"\0\0\x5b\1\4\0\0\0\1" + b"h" * 91
UPDATE = b"\0\0\4\x08\0\0\0\0\0\0\0\x20\0"
DATA = b"d" * 8_192
PROMPT_S, PAUSE_S = 0.05, 0.23  # shorter and longer than a stall


def _pair() -> tuple[socket.socket, socket.socket]:
    """A client and its server after the handshake, without a pause in it."""
    while True:
        client, server = connection()
        client.sendall(PREFACE)
        exactly(server, len(PREFACE))
        begin_s = time.monotonic()
        server.sendall(SETTINGS + ACKNOWLEDGED)
        exactly(client, len(SETTINGS + ACKNOWLEDGED))
        client.sendall(ACKNOWLEDGED)
        if time.monotonic() - begin_s < PROMPT_S:
            exactly(server, len(ACKNOWLEDGED))
            return client, server


def first_request() -> Steps:
    """Blocks until its first request is answered; yields bounds of that wait in ns."""
    late = Bounds()
    client, server = _pair()

    def serve() -> None:
        exactly(server, len(REQUEST))
        sys.stdin.readline()
        late.release()
        server.sendall(SETTINGS)

    aside(serve)
    time.sleep(PAUSE_S)
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: client.recv(100))


def idle() -> Steps:
    """A thread waits for what the server may send."""
    client, _server = _pair()
    aside(partial(client.recv, 100))
    yield
    time.sleep(LONG_S)


def downloads() -> Steps:
    """A thread waits for what the server may send; the client updates the windows as it reads."""
    client, server = _pair()

    def serve() -> None:
        exactly(server, len(REQUEST))
        for count in (1, 2, 1, 2):
            server.sendall(DATA)
            exactly(server, count * len(UPDATE))
        time.sleep(LONG_S)

    aside(serve)
    yield
    client.sendall(REQUEST)
    for count in (1, 2, 1, 2):
        exactly(client, len(DATA))
        client.sendall(count * UPDATE)
    client.recv(100)
