"""A worker whose one thread sits in epoll, as asyncio, Node.js and Go programs do.

No call of it ever blocks on a socket: what it waits for shows only in what it did before.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from threading import Thread
from typing import Any

from talk import Longest, addresses_of, failed, hello, inode, report, tcp_info

CHUNK_BYTES = 65_536
PIECE_BYTES = 4_096  # far less than the third of a buffer that is free when it is writable


def _compute(cpu_ms: int) -> None:
    end = time.thread_time() + cpu_ms / 1e3
    while time.thread_time() < end:  # a system call: many of them are taken for polling
        for _ in range(10_000):
            pass


class Evented:
    """One listener, one current connection; the ones before it stay open."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.listener: socket.socket | None = None
        self.sock: socket.socket | None = None
        self.kept: list[socket.socket] = []

    async def listen(self, host: str = "127.0.0.1") -> dict[str, Any]:
        """Listen on a port of the kernel's choice."""
        self.listener = socket.create_server((host, 0))
        self.listener.setblocking(False)
        return {"port": self.listener.getsockname()[1], "inode": inode(self.listener)}

    async def accept(self) -> dict[str, Any]:
        sock, _ = await self.loop.sock_accept(self.listener)
        self._use(sock)
        return addresses_of(sock)

    async def connect(self, host: str, port: int) -> dict[str, Any]:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        report("connecting", inode=inode(sock))
        self._use(sock)
        begin_ns = time.monotonic_ns()
        await self.loop.sock_connect(sock, (host, port))
        return addresses_of(sock) | self._span(begin_ns)

    async def send(self, count: int, chunk: int = CHUNK_BYTES) -> dict[str, Any]:
        """Send exactly `count` bytes; the stall is the longest wait after an EAGAIN."""
        payload, longest, sent = memoryview(bytes(chunk)), Longest(), 0
        while sent < count:
            try:
                sent += self.sock.send(payload[: count - sent])
            except BlockingIOError:
                begin_ns = time.monotonic_ns()
                await self._writable()
                longest.note(begin_ns, time.monotonic_ns())
        return {"bytes": sent, "inode": inode(self.sock)} | longest.fields()

    async def send_polled(self, count: int) -> dict[str, Any]:
        """Send `count` bytes, each piece once the socket is writable: no send finds it full."""
        longest, sent, begin_ns = Longest(), 0, time.monotonic_ns()
        while sent < count:
            await self._writable()
            longest.note(begin_ns, time.monotonic_ns())
            sent += self.sock.send(bytes(min(PIECE_BYTES, count - sent)))
            begin_ns = time.monotonic_ns()
        return {"bytes": sent, "inode": inode(self.sock)} | longest.fields()

    async def recv(self, count: int) -> dict[str, Any]:
        """Receive exactly `count` bytes, or fewer where the peer closes before."""
        received, begin_ns = 0, time.monotonic_ns()
        while received < count:
            part = await self.loop.sock_recv(self.sock, min(count - received, 1 << 20))
            if not part:
                break
            received += len(part)
        return {"bytes": received, "inode": inode(self.sock)} | self._span(begin_ns)

    async def ask(self, question: int, answer: int) -> dict[str, Any]:
        """Send a question and await its answer."""
        begin_ns = time.monotonic_ns()
        await self.loop.sock_sendall(self.sock, bytes(question))
        begun_ns = time.monotonic_ns()
        return await self.recv(answer) | {"begun_ns": begun_ns} | self._span(begin_ns)

    async def drip(self, count: int, every_ms: int, times: int) -> dict[str, Any]:
        """A line now and then that no process answers, as a log sender does it."""
        for _ in range(times):
            last_ns = time.monotonic_ns()
            await self.loop.sock_sendall(self.sock, bytes(count))
            await asyncio.sleep(every_ms / 1e3)
        return {"bytes": count * times, "last_ns": last_ns}

    async def compute_aside(self, cpu_ms: int) -> dict[str, Any]:
        """Begin to take a core for this much CPU time in another thread; the loop stays idle."""
        Thread(target=_compute, args=(cpu_ms,), daemon=True).start()
        return {}

    async def settle(self) -> dict[str, Any]:
        """Wait until the peer has acknowledged all, then report the kernel's own counts."""
        while (info := tcp_info(self.sock))["unacked"]:
            await asyncio.sleep(0.01)
        return info | {"inode": inode(self.sock)}

    async def close(self) -> dict[str, Any]:
        self.sock.close()
        self.sock = None
        return {}

    def _use(self, sock: socket.socket) -> None:
        if self.sock is not None:
            self.kept.append(self.sock)
        self.sock = sock

    async def _writable(self) -> None:
        ready = self.loop.create_future()
        self.loop.add_writer(self.sock, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            self.loop.remove_writer(self.sock)

    @staticmethod
    def _span(begin_ns: int) -> dict[str, int]:
        longest = Longest()
        longest.note(begin_ns, time.monotonic_ns())
        return longest.fields()


async def obey() -> None:
    """Obey stdin, one command a line; reading it is an event like any other."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    worker = Evented()
    hello("evented")
    while line := await lines.readline():
        verb, *words = line.decode().split()
        arguments = [int(word) if word.isdigit() else word for word in words]
        try:
            report(verb, **await getattr(worker, verb)(*arguments))
        except OSError as error:
            failed(verb, error)


def run() -> None:
    asyncio.run(obey())
