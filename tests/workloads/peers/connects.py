"""Peers whose connections are refused, time out, take long or are aborted."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from peers.common import LONG_S, LOOPBACK, Bounds, Steps, connection, exactly, listen

DEAF_PORT = 7777  # the test's firewall decides what becomes of its packets
CLOSED_PORT = 1
IPPROTO_MPTCP = 262
TCP_FASTOPEN_CONNECT = 30
JOINED = f"{int.from_bytes(bytes((10, 9, 9, 77)), sys.byteorder):08X}"


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
    yield _time_out(lambda: client.connect((LOOPBACK, DEAF_PORT)))


def timed_out_again(sockets: int, times: int) -> Steps:
    """Each socket connects again as soon as its connect has timed out.

    A child opens connections all the time on the same processor: where it is in the kernel
    source's program as a timer expires, the kernel skips that program's run for the timer.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    parent, other = os.getpid(), os.fork()
    while not other:
        if os.getppid() != parent:
            os._exit(0)
        for end in connection():
            end.close()
    poller, left, held = select.epoll(), {}, []
    yield
    for _ in range(sockets):
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)  # at the first RTO
        client.connect_ex((LOOPBACK, DEAF_PORT))
        poller.register(client, select.EPOLLOUT)
        left[client.fileno()] = client, times
        time.sleep(0.004)  # their timers expire one after the other
    while left:
        for number, _ in poller.poll():
            client, due = left.pop(number)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
            if due == 1:
                poller.unregister(number)
                held.append(client)  # an iteration finds it, where the kernel skipped its end
                continue
            left[number] = client, due - 1
            while client.connect_ex((LOOPBACK, DEAF_PORT)) == errno.ECONNABORTED:
                continue  # the first call after the failed one returns that
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    yield


def timed_out_by_multipath() -> Steps:
    """Yields bounds of the connect in ns."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    yield
    yield _time_out(lambda: client.connect((LOOPBACK, DEAF_PORT)))


def _time_out(call: Callable[[], object]) -> list[int]:
    begin_ns, had_waited_ns = _clock()
    with suppress(TimeoutError):
        call()
    end_ns, waited_ns = _clock()
    took_ns = end_ns - begin_ns
    return [took_ns - (waited_ns - had_waited_ns), took_ns]


def _connect_by_first_send(port: int) -> socket.socket:
    """Return at once: by TCP Fast Open the SYN goes with the first data."""
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    client.connect((LOOPBACK, port))
    return client


def opened_by_first_send() -> Steps:
    with listen() as listener:
        yield
        client = _connect_by_first_send(listener.getsockname()[1])
        yield
        client.sendall(b"q" * 7)
        exactly(listener.accept()[0], 7)
        yield


def timed_out_in_first_send() -> Steps:
    """Yields bounds of that send in ns."""
    client = _connect_by_first_send(DEAF_PORT)
    yield
    yield _time_out(lambda: client.send(b"q" * 7))


def joined_by_the_kernel() -> Steps:
    """The server announces another address, where nothing answers; yields when the SYN is out."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as listener:
        listener.bind(("10.9.9.1", 0))
        listener.listen()
        yield
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        client.connect(listener.getsockname())
        server = listener.accept()[0]
    client.sendall(b"q" * 7)
    exactly(server, 7)
    server.sendall(b"a" * 7)
    exactly(client, 7)
    while JOINED not in Path("/proc/net/tcp").read_text():
        time.sleep(0.001)
    yield
    time.sleep(LONG_S)


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
