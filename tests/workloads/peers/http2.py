"""Clients of HTTP/2 in the clear, which acknowledge the server's settings before they ask."""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterable
from functools import partial

from peers.common import LONG_S, Bounds, Steps, aside, connection, exactly

SETTINGS = b"\0\0\6\4\0\0\0\0\0\0\4\0\1\0\0"
ACKNOWLEDGED = b"\0\0\0\4\1\0\0\0\0"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
REQUEST = b"\0\0\x5b\1\4\0\0\0\1" + b"h" * 91
UPDATE = b"\0\0\4\x08\0\0\0\0\0\0\0\x20\0"
DATA = b"d" * 8_192
EVERY_S = 0.01
PROMPT_S, PAUSE_S = 0.05, 0.23  # shorter and longer than a stall


def _pair(more: int = 0) -> tuple[socket.socket, socket.socket]:
    """A client and its server after the handshake, without a pause in it.

    `more`: bytes that TLS adds to each message.
    """
    added = bytes(more)
    replied = SETTINGS + ACKNOWLEDGED + added
    while True:
        client, server = connection()
        client.sendall(PREFACE + added)
        exactly(server, len(PREFACE + added))
        begin_s = time.monotonic()
        server.sendall(replied)
        exactly(client, len(replied))
        client.sendall(ACKNOWLEDGED + added)
        prompt = time.monotonic() - begin_s < PROMPT_S
        exactly(server, len(ACKNOWLEDGED + added))
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


def _play(client: socket.socket, server: socket.socket, steps: Iterable[str]) -> None:
    """`c100`: the client sends so many bytes, in one message; `s17`: the server; `p300`: ms."""
    for step in steps:
        number = int(step[1:])
        if step[0] == "p":
            time.sleep(number / 1_000)
            continue
        sender, receiver = (client, server) if step[0] == "c" else (server, client)
        sender.sendall(bytes(number))
        _take(receiver, number)


def answered(more: int, *steps: str) -> Steps:
    """An event loop that has its reply after these steps, and waits for nothing."""
    client, server = _pair(more)
    yield
    _play(client, server, (*("c100", "s200") * 12, *steps))
    loop = select.epoll()
    loop.register(client, select.EPOLLIN)
    loop.poll(LONG_S)
