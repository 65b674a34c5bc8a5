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
PING = b"\0\0\x08\6\0\0\0\0\0" + b"p" * 8
PONG = b"\0\0\x08\6\1\0\0\0\0" + b"p" * 8
DATA = b"d" * 8_192
CHUNK, CHUNKS, EVERY_S = b"d" * 65_536, 120, 0.01  # a sustained transfer
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
        prompt = time.monotonic() - begin_s < PROMPT_S
        exactly(server, len(ACKNOWLEDGED))
        if prompt:
            return client, server


def _take(sock: socket.socket, count: int) -> None:
    """Receive so many bytes, and never wait in a receive: there a server is idle."""
    while count:
        try:
            count -= len(sock.recv(count, socket.MSG_DONTWAIT))
        except BlockingIOError:
            time.sleep(EVERY_S)


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


def pinged() -> Steps:
    """Waits for a reply while both sides ping each other; yields bounds of that wait in ns."""
    late = Bounds()
    client, server = _pair()

    def serve() -> None:
        _take(server, len(REQUEST))
        server.sendall(PING)
        _take(server, len(PONG + PING))
        server.sendall(UPDATE + PONG)
        time.sleep(PROMPT_S)
        server.sendall(PING)
        _take(server, len(PONG))
        sys.stdin.readline()
        late.release()
        server.sendall(DATA)

    def receive() -> None:
        exactly(client, len(PING))
        client.sendall(PONG)
        time.sleep(PAUSE_S)
        client.sendall(PING)
        exactly(client, len(UPDATE + PONG))
        exactly(client, len(PING))
        client.sendall(PONG)
        exactly(client, len(DATA))

    aside(serve)
    time.sleep(PAUSE_S)
    yield
    yield late.measure(lambda: client.sendall(REQUEST), receive)


def short_reply() -> Steps:
    """Waits for a reply of a ping's size; yields bounds of that wait in ns."""
    late = Bounds()
    client, server = _pair()

    def serve() -> None:
        exactly(server, len(REQUEST))
        sys.stdin.readline()
        late.release()
        server.sendall(PING)

    aside(serve)
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: client.recv(100))


def pings() -> Steps:
    """Has its reply, and pings on: the server acknowledges some of them."""
    client, server = _pair()

    def serve() -> None:
        exactly(server, len(REQUEST))
        server.sendall(DATA)
        for _ in range(3):
            exactly(server, len(PING))
            server.sendall(PONG)

    aside(serve)
    yield
    client.sendall(REQUEST)
    exactly(client, len(DATA))
    for _ in range(3):
        time.sleep(PAUSE_S)
        client.sendall(PING)
        exactly(client, len(PONG))
    client.sendall(PING)
    client.recv(100)


def download_stops() -> Steps:
    """A download stops in its midst, and the client pings; yields bounds of the pause in ns."""
    late = Bounds()
    client, server = _pair()

    def serve() -> None:
        exactly(server, len(REQUEST))
        for _ in range(CHUNKS):
            server.sendall(CHUNK)
            time.sleep(EVERY_S)
        _take(server, len(PING))
        server.sendall(PONG)
        sys.stdin.readline()
        late.release()
        server.sendall(DATA)

    def receive() -> None:
        time.sleep(PAUSE_S)
        client.sendall(PING)
        exactly(client, len(PONG))
        exactly(client, len(DATA))

    aside(serve)
    yield
    client.sendall(REQUEST)
    exactly(client, (CHUNKS - 1) * len(CHUNK))
    yield late.measure(lambda: exactly(client, len(CHUNK)), receive)


def short_messages() -> Steps:
    """A request and replies of a ping's size, and such requests soon after each, for long."""
    client, server = _pair()

    def serve() -> None:
        exactly(server, len(REQUEST))
        while True:
            server.sendall(PING)
            _take(server, len(PING))

    aside(serve)
    yield
    client.sendall(REQUEST)
    end_s = time.monotonic() + LONG_S
    while time.monotonic() < end_s:
        exactly(client, len(PING))
        client.sendall(PING)
