"""Peers that close with SO_LINGER while the kernel still holds data to send."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

from peers.common import Bounds, Steps, connection, fill


def _linger(sock: socket.socket, seconds: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))


def until_read(shut_down: int) -> Steps:
    """Yields the inode and thread that close, then the bounds of the wait in close(), in ns."""
    client, server = connection()
    fill(client)
    _linger(client, 60)
    yield
    inode = os.fstat(client.fileno()).st_ino
    if shut_down:
        client.shutdown(socket.SHUT_WR)
    bounds, found_ns = Bounds(), []
    thread = threading.Thread(
        target=lambda: found_ns.extend(bounds.measure(lambda: None, client.close))
    )
    thread.start()
    yield inode, thread.native_id
    bounds.release()
    while server.recv(65_536):
        pass
    thread.join()
    yield found_ns


def given_up() -> Steps:
    """The peer never reads; yields how long close() took, in s."""
    client, _server = connection()
    fill(client)
    _linger(client, 1)
    yield
    begin = time.monotonic()
    client.close()
    yield time.monotonic() - begin


def shut_down_both_ways() -> Steps:
    client, _server = connection()
    yield
    fill(client)
    _linger(client, 60)
    client.shutdown(socket.SHUT_RDWR)
    yield


def without_linger() -> Steps:
    client, _server = connection()
    yield
    fill(client)
    client.close()
    yield
