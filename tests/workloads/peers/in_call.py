"""Peers whose calls stay in the kernel while data move."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from itertools import pairwise

from peers.common import Steps, aside, connection, exactly

PIECE = 100_003
QUESTION = 7


class _Block:
    """A client that requests seven pieces and receives them in one call."""

    def __init__(self) -> None:
        self.client, self.server = connection()
        self.done = threading.Event()

    def request(self) -> None:
        aside(self._receive)
        exactly(self.server, QUESTION)

    def _receive(self) -> None:
        self.client.sendall(bytes(QUESTION))
        assert len(self.client.recv(7 * PIECE, socket.MSG_WAITALL)) == 7 * PIECE
        self.done.set()


def block_in_pieces() -> Steps:
    """A piece with each step; the call returns with the last."""
    block = _Block()
    yield
    block.request()
    yield
    for _ in range(6):
        block.server.sendall(bytes(PIECE))
        yield
    block.server.sendall(bytes(PIECE))
    block.done.wait()
    yield


def block_that_keeps_coming(parts: int, every_ms: int) -> Steps:
    """Yields the longest time that two parts may be apart, in ns: a busy host has one come late."""
    block = _Block()
    yield
    sends_ns = []  # begin and end of each

    def timed(send: Callable[[], object]) -> None:
        begin_ns = time.monotonic_ns()
        send()
        sends_ns.append((begin_ns, time.monotonic_ns()))

    timed(block.request)
    part = 7 * PIECE // (parts + 1)
    for _ in range(parts):
        timed(lambda: block.server.sendall(bytes(part)))
        time.sleep(every_ms / 1_000)
    assert not block.done.is_set()
    timed(lambda: block.server.sendall(bytes(7 * PIECE - parts * part)))
    block.done.wait()
    yield max(later[1] - sooner[0] for sooner, later in pairwise(sends_ns))


def block_with_late_first_piece() -> Steps:
    block = _Block()
    yield
    block.request()
    yield
    block.server.sendall(bytes(PIECE))
    yield
    block.server.sendall(bytes(6 * PIECE))
    block.done.wait()
    yield


def inherited_connection() -> Steps:
    """Yields the child that receives; at the end, its exit status."""
    client, server = connection()
    client.sendall(b"a" * 7)
    exactly(server, 7)
    child = os.fork()
    if not child:
        os._exit(len(server.recv(2 * PIECE, socket.MSG_WAITALL)) != 2 * PIECE)
    yield child
    client.sendall(bytes(PIECE))
    yield
    client.sendall(bytes(PIECE))
    yield os.waitpid(child, 0)[1]


def inherited_wait(how: str, held_ms: int) -> Steps:
    """Yields the child that waits for the reply to its parent's request, which does not come.

    `held_ms` after the next step the server closes, or resets, or the parent shuts down.
    """
    client, server = connection()
    client.sendall(b"a" * 7)
    exactly(server, 7)
    child = os.fork()
    if not child:
        server.close()
        with contextlib.suppress(ConnectionResetError):
            client.recv(11)
        os._exit(0)
    yield child
    time.sleep(held_ms / 1e3)
    if how == "shutdown":
        client.shutdown(socket.SHUT_RDWR)
    elif how == "reset":
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    yield os.waitpid(child, 0)[1]


def large_send(parts: int) -> Steps:
    """One send of so many pieces; the receiver takes one with each step."""
    client, server = connection()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    thread = threading.Thread(target=lambda: client.sendall(bytes(parts * PIECE)))
    yield
    thread.start()
    for _ in range(parts - 1):
        exactly(server, PIECE)
        yield
    exactly(server, PIECE)
    thread.join()
    yield


def threads_on_one_socket(threads: int, parts: int) -> Steps:
    """Some receive much, some little; a piece with each step.  Yields their sum at the end."""
    client, server = connection()
    got: list[int] = []

    def receive(size: int) -> None:
        while part := server.recv(size, socket.MSG_WAITALL):
            got.append(len(part))

    sizes = (3 * PIECE, 1_009, PIECE, 997, 10_007)[:threads]
    receivers = [threading.Thread(target=receive, args=(size,)) for size in sizes]
    for thread in receivers:
        thread.start()
    yield
    for _ in range(parts):
        client.sendall(bytes(PIECE))
        yield
    client.shutdown(socket.SHUT_WR)
    for thread in receivers:
        thread.join()
    yield sum(got)
