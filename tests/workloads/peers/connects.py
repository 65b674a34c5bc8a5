"""Peers whose connections are refused, time out, take long or are aborted."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from contextlib import suppress

from peers.common import LOOPBACK, Bounds, Steps, connection, exactly, listen

DEAF_PORT = 7777  # the test's firewall decides what becomes of its packets
CLOSED_PORT = 1


def refused(address: str, times: int) -> Steps:
    yield
    _be_refused(address, times)
    yield


def refused_twice(times: int, then: int) -> Steps:
    yield
    _be_refused(LOOPBACK, times)
    yield
    _be_refused(LOOPBACK, then)
    yield


def _be_refused(address: str, times: int) -> None:
    for _ in range(times):
        try:
            socket.create_connection((address, CLOSED_PORT))
        except ConnectionRefusedError:
            continue


def _clock() -> tuple[int, int]:
    """Now, and how long this thread has waited for a CPU so far, in ns."""
    with open("/proc/self/schedstat") as file:
        waited_ns = int(file.read().split()[1])
    return time.monotonic_ns(), waited_ns


def timed_out() -> Steps:
    """Yields bounds of the connect in ns: only the kernel knows when it gave up."""
    client = socket.socket()
    yield
    begin_ns, had_waited_ns = _clock()
    with suppress(TimeoutError):
        client.connect((LOOPBACK, DEAF_PORT))
    end_ns, waited_ns = _clock()
    took_ns = end_ns - begin_ns
    yield [took_ns - (waited_ns - had_waited_ns), took_ns]


def given_up() -> Steps:
    """Yields bounds of the connect in ns."""
    client = socket.socket()
    client.setblocking(False)
    bounds = Bounds()

    def give_up() -> None:
        select.select([], [client], [], 0.3)
        bounds.release()
        client.close()

    yield
    yield bounds.measure(lambda: client.connect_ex((LOOPBACK, DEAF_PORT)), give_up)


def forbidden() -> Steps:
    """Yields the error of a connect by IPv4 and of one by IPv6."""
    found = []
    yield
    for family, host in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        with socket.socket(family) as client:
            found.append(errno.errorcode[client.connect_ex((host, DEAF_PORT))])
    yield found


def without_a_port() -> Steps:
    """Yields the result of each connect, and the inode of its socket."""
    listener = listen(port=7000)
    yield
    found, held = [], [socket.socket() for _ in range(11)]
    for client in held:
        found.append(errno.errorcode.get(client.connect_ex(listener.getsockname()), ""))
    yield found, [os.fstat(client.fileno()).st_ino for client in held]
    for client in held:
        client.close()
    yield


def given_up_with_a_port() -> Steps:
    """One by close(), one by a connect to AF_UNSPEC; a refused one comes after both."""
    import ctypes

    first, second = socket.socket(), socket.socket()
    for client in (first, second):
        client.setblocking(False)
    yield
    for client in (first, second):
        client.connect_ex((LOOPBACK, DEAF_PORT))
    first.close()
    unspecified = struct.pack("H14x", socket.AF_UNSPEC)
    assert ctypes.CDLL(None).connect(second.fileno(), unspecified, 16) == 0
    _be_refused(LOOPBACK, 1)
    yield


def aborted() -> Steps:
    """Yields what a receive finds after `ss -K`."""
    import subprocess

    client, server = connection()
    client.sendall(b"a" * 7)
    exactly(server, 7)
    yield
    kill = ["ss", "-K", "sport", "=", str(client.getsockname()[1])]
    subprocess.run(kill, check=False, stdout=subprocess.DEVNULL)
    client.setblocking(False)
    try:
        found = str(len(client.recv(1)))
    except OSError as error:
        found = errno.errorcode[error.errno or 0]
    yield found
