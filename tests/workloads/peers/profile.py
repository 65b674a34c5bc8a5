"""Peers whose system calls are counted."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from peers.common import Steps

REFUSED_PORT = 1  # of loopback, where no process listens


def calls() -> Steps:
    """In one step: an exact number of calls of each kind."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    here, there = socket.socketpair()
    reader, writer = os.pipe()
    yield None
    for _ in range(23):
        os.getppid()
    for _ in range(7):
        client.send(b"x" * 61)
        accepted.recv(61, socket.MSG_WAITALL)
    for _ in range(5):
        os.write(client.fileno(), b"x" * 29)
        os.read(accepted.fileno(), 29)
    for _ in range(3):
        os.write(writer, b"x" * 13)
        os.read(reader, 13)
        here.send(b"x")
        there.recv(1)
    for _ in range(11):
        with suppress(FileNotFoundError):
            os.open("/nowhere", os.O_RDONLY)
    for _ in range(2):
        with socket.socket() as one:
            one.connect_ex(("127.0.0.1", REFUSED_PORT))
    yield None


def children() -> Steps:
    """A child from before, and in one step another one: 17 and 19 calls."""
    reader, writer = os.pipe()
    if not (early := os.fork()):
        os.read(reader, 1)
        _ask(17)
    yield early
    os.write(writer, b"x")
    os.waitpid(early, 0)
    if not (late := os.fork()):
        _ask(19)
    os.waitpid(late, 0)
    yield None


def _ask(times: int) -> None:
    for _ in range(times):
        os.getpgrp()
    os._exit(0)
