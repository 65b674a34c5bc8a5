"""Waits that are harder to see than one in recv, and a process whose first thread has ended."""

from __future__ import annotations

import ctypes
import os
import platform
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

import blocking
from talk import addresses_of, inode, report

LONG_S = 600
_CLONE_NEWNET = 0x40000000
_EXIT = 93 if platform.machine() == "aarch64" else 60  # of the calling thread alone
ECHO = b"\x08\0\0\0\0\1\0\1" + bytes(56)


class Waits(blocking.Blocking):
    """Each command reports when it begins to wait, and then waits for long."""

    def ask_nested(self, question: int, how: str) -> dict[str, Any]:
        """Ask, and wait in poll or epoll for an epoll that watches one that watches the socket."""
        self.sock.sendall(bytes(question))
        return self.wait_nested(how)

    def wait_nested(self, how: str) -> dict[str, Any]:
        inner, outer = select.epoll(), select.epoll()
        inner.register(self.sock, select.EPOLLIN)
        outer.register(inner, select.EPOLLIN)
        report("waiting", inode=inode(self.sock))
        if how == "poll":
            waits = select.poll()
            waits.register(outer, select.POLLIN)
            waits.poll(LONG_S * 1_000)
        else:
            outer.poll(LONG_S)
        return {"bytes": len(self.sock.recv(1 << 16))}

    def ask_between_naps(self, question: int) -> dict[str, Any]:
        """Ask, and receive without blocking, with a short sleep between two attempts."""
        self.sock.sendall(bytes(question))
        report("waiting", inode=inode(self.sock))
        until = time.monotonic() + LONG_S
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                return {"bytes": len(self.sock.recv(1 << 16, socket.MSG_DONTWAIT))}
            time.sleep(0.01)
        return {"bytes": 0}

    def ask_by_datagram(self, port: int, how: str, *, connected: int) -> dict[str, Any]:
        """Ask as the resolvers of musl and of Go do, and wait in poll or epoll."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if connected:
            sock.connect(("127.0.0.1", port))
            sock.send(b"query")
        else:
            sock.sendto(b"query", ("127.0.0.1", port))
        report("waiting", local=sock.getsockname()[1])
        if how == "poll":
            waits = select.poll()
            waits.register(sock, select.POLLIN)
            waits.poll(LONG_S * 1_000)
        else:
            loop = select.epoll()
            loop.register(sock, select.EPOLLIN)
            loop.poll(LONG_S)
        return {}

    def ask_connected(self, port: int, how: str) -> dict[str, Any]:
        return self.ask_by_datagram(port, how, connected=1)

    def ask_unconnected(self, port: int, how: str) -> dict[str, Any]:
        return self.ask_by_datagram(port, how, connected=0)

    def fill_datagrams(self, host: str, size: int) -> dict[str, Any]:
        """Send until a send waits, and go on."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * size)
        sock.connect((host, 9))
        report("waiting", remote=f"{host}:9")
        while True:
            with suppress(ConnectionRefusedError):  # of an earlier one
                sock.send(bytes(size))

    def linger(self, count: int) -> dict[str, Any]:
        """Fill the buffers, and close with SO_LINGER."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LONG_S))
        self.sock.setblocking(False)
        try:
            while True:
                self.sock.send(bytes(count))
        except BlockingIOError:
            self.sock.setblocking(True)
        report("waiting", fd=self.sock.fileno())
        return self.close()

    def ping_and_wait(self, host: str) -> dict[str, Any]:
        """On an ICMP socket of the user's, or a raw one of root's."""
        kind = socket.SOCK_DGRAM if os.getuid() else socket.SOCK_RAW
        sock = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
        sock.connect((host, 0))
        sock.send(ECHO)
        report("waiting", fd=sock.fileno())
        sock.recv(100)
        return {}

    def wait_locally(self) -> dict[str, Any]:
        """On a unix socket of its own."""
        one, _other = socket.socketpair()
        report("waiting", fd=one.fileno())
        one.recv(1)
        return {}

    def undumpable(self) -> dict[str, Any]:
        """As a program with file capabilities: not even its own user may read it."""
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        return {}

    def connect_from(self, pid: int, port: int) -> dict[str, Any]:
        """Connect with a socket of the network namespace of `pid`, and stay out of it."""
        home, there = (os.open(f"/proc/{p}/ns/net", os.O_RDONLY) for p in ("thread-self", pid))
        setns = ctypes.CDLL(None).setns
        assert setns(there, _CLONE_NEWNET) == 0
        sock = socket.socket()
        assert setns(home, _CLONE_NEWNET) == 0
        sock.connect(("127.0.0.1", port))
        self._use(sock)
        return addresses_of(sock)


def run() -> None:
    blocking.run(Waits())


def run_headless() -> None:
    """Obey in a second thread; the first one exits at once."""
    threading.Thread(target=run).start()
    ctypes.CDLL(None).syscall(_EXIT, 0)
