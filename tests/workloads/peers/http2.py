"""Clients of HTTP/2 in the clear, which acknowledge the server's settings before they ask."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial

from peers.common import LONG_S, Bounds, Steps, aside, connection, exactly

SETTINGS = b"\0\0\6\4\0\0\0\0\0\0\4\0\1\0\0"
ACKNOWLEDGED = b"\0\0\0\4\1\0\0\0\0"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
REQUEST = b"\0\0\x5b\1\4\0\0\0\1" + b"h" * 91
UPDATE = b"\0\0\4\x08\0\0\0\0\0\0\0\x20\0"
FRAMES = {
    "K": ACKNOWLEDGED,
    "P": b"\0\0\x08\6\0\0\0\0\0" + b"p" * 8,  # a ping
    "A": b"\0\0\x08\6\1\0\0\0\0" + b"p" * 8,  # its acknowledgement
    "U": UPDATE,
    "R": b"\0\0\4\3\0\0\0\0\1\0\0\0\x08",  # a reset of the stream: cancelled
}
DATA = b"d" * 8_192
EVERY_S = 0.01
INLINED, HEADERS = 23, 40  # bytes
PROMPT_S, PAUSE_S = 0.05, 0.23  # shorter and longer than a stall


def _pair(more: int = 0, steps: Sequence[str] = ()) -> tuple[socket.socket, socket.socket]:
    """A client and its server after the handshake, without a pause in it.

    `more`: bytes that TLS adds to each message.  The first of `steps` may acknowledge the settings.
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
        if not (steps and "K" in steps[0]):
            client.sendall(ACKNOWLEDGED + added)
            exactly(server, len(ACKNOWLEDGED + added))
        if time.monotonic() - begin_s < PROMPT_S:
            return client, server


def _take(sock: socket.socket, count: int, how: str) -> None:
    """Receive so many bytes, and never wait in a receive: there a server is idle."""
    buffer = bytearray(count)
    sock.setblocking(False)
    while count:
        try:
            if how == "vectors":
                count -= os.readv(sock.fileno(), [buffer])
            elif how == "messages":
                count -= sock.recvmsg_into([buffer])[0]
            else:
                count -= sock.recv_into(buffer, count)
        except BlockingIOError:
            time.sleep(EVERY_S)
    sock.setblocking(True)


def _send(sock: socket.socket, frames: list[bytes], how: str) -> None:
    """Send these at once: a buffer for each, or for all; or as gRPC, which fills small ones."""
    data = b"".join(frames)
    if how == "vectors":
        os.writev(sock.fileno(), frames)
    elif how == "messages":
        sock.sendmsg([data[:INLINED], data[INLINED:]])
    else:
        sock.send(data)


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


def _frame(kind: int, flags: int, count: int) -> bytes:
    """A frame of so many bytes in all."""
    count -= len(ACKNOWLEDGED)
    return count.to_bytes(3, "big") + bytes((kind, flags)) + b"\0\0\0\1" + b"d" * count


def _frames(words: str) -> list[bytes]:
    """`100`: a call of so many bytes in all, `D100`: data of one that goes on, `PU`: see FRAMES.

    `100+R`: both at once.
    """
    if "+" in words:
        return [frame for some in words.split("+") for frame in _frames(some)]
    if words[0] == "D":
        return [_frame(0, 0, int(words[1:]))]
    if not words.isdigit():
        return [FRAMES[letter] for letter in words]
    count = int(words)
    if count < 2 * HEADERS:
        return [_frame(1, 5, count)]
    return [_frame(1, 4, HEADERS), _frame(0, 1, count - HEADERS)]


def _play(client: socket.socket, server: socket.socket, how: str, steps: Iterable[str]) -> None:
    """`c100`: the client calls; `sPU`: the server sends these frames; `p300`: ms pass.

    `S200`: as `s200`, and the client does not read it.
    """
    for step in steps:
        if step[0] == "p":
            time.sleep(int(step[1:]) / 1_000)
            continue
        sender, receiver = (client, server) if step[0] == "c" else (server, client)
        frames = _frames(step[1:])
        _send(sender, frames, how)
        if step[0] != "S":
            _take(receiver, sum(map(len, frames)), how)


def answered(how: str, more: int, *steps: str) -> Steps:
    """An event loop that has its reply after these steps, and waits for nothing.

    `more`: bytes that TLS adds to each message of the handshake.
    """
    client, server = _pair(more, steps)
    yield
    _play(client, server, how, steps)
    yield
    loop = select.epoll()
    loop.register(client, select.EPOLLIN)
    loop.poll(LONG_S)


def asks(how: str, *steps: str) -> Steps:
    """Waits for the reply to the request among these steps, `r100`; yields its bounds in ns."""
    late = Bounds()
    client, server = _pair(0, steps)
    (asked,) = (number for number, step in enumerate(steps) if step[0] == "r")
    before, request, meanwhile = steps[:asked], f"c{steps[asked][1:]}", steps[asked + 1 :]

    def serve() -> None:
        sys.stdin.readline()
        late.release()
        server.sendall(DATA)

    def receive() -> None:
        _play(client, server, how, meanwhile)
        aside(serve)
        exactly(client, len(DATA))

    yield
    _play(client, server, how, before)
    yield late.measure(lambda: _play(client, server, how, [request]), receive)
