"""Serves many clients on one thread: none can hold up another, and each has ten seconds."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress

from xctl_probe.prometheus.address import Address
from xctl_probe.prometheus.http import MOST_REQUEST_BYTES, Handler, answer

_MOST_CLIENTS = 16
_MOST_UNSENT_BYTES = 32 << 20  # of all clients
# Least time between two accepts: whoever may connect could take a core of the probe.
_APART_NS = 50_000_000
_LONGEST_NS = 10_000_000_000  # of a client, from its connect to the end of the answer
_PAUSE_NS = 1_000_000_000  # before the next accept, where descriptors ran out
_BACKLOG = 64
_PIECE_BYTES = 1 << 18


class _Client:
    """One connection: what it sent, and what it has not taken yet."""

    __slots__ = ("answered", "end_ns", "received", "rest", "sock")

    def __init__(self, sock: socket.socket, end_ns: int) -> None:
        self.sock = sock
        self.end_ns = end_ns
        self.received = b""
        self.rest: list[memoryview] = []
        self.answered = False


class Server:
    """Answers requests, whenever `serve` is called.  All sockets are non-blocking.

    Of more clients than 16, or of more than 32 MiB that they have not taken, the one that came
    first is dropped: a client that wants an answer has it in milliseconds.  `now_ns` is the
    monotonic clock.  Raises OSError where the address cannot be had.
    """

    def __init__(
        self, address: Address, handlers: dict[str, Handler], now_ns: Callable[[], int]
    ) -> None:
        self._handlers = handlers
        self._now_ns = now_ns
        self._selector = selectors.DefaultSelector()
        self._clients: dict[_Client, None] = {}  # the one that came first is first
        self._paused_until_ns: int | None = None
        family, name = address.family_and_name()
        self._listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(name)
            self._listener.listen(_BACKLOG)
        except BaseException:
            self.close()
            raise
        host, port, *_ = self._listener.getsockname()
        self.address = Address(host, port)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def watch(self, fd: int) -> None:
        """Let `serve` return when this descriptor is readable, too."""
        self._selector.register(fd, selectors.EVENT_READ)

    def serve(self) -> None:
        """Wait until a client or a watched descriptor is ready, and serve the clients."""
        for key, _ in self._selector.select(self._timeout_s()):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, _Client) and key.data in self._clients:
                self._continue(key.data)
        self._drop_late()

    def close(self) -> None:
        """Close all connections and the listener.  Safe to call twice."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listener.close()

    def _timeout_s(self) -> float | None:
        due_ns = [client.end_ns for client in self._clients]
        if self._paused_until_ns is not None:
            due_ns.append(self._paused_until_ns)
        return max(min(due_ns) - self._now_ns(), 0) / 1e9 if due_ns else None

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # no descriptors: the listener stays readable
            self._pause(_PAUSE_NS)
            return
        self._pause(_APART_NS)
        sock.setblocking(False)
        if len(self._clients) >= _MOST_CLIENTS:
            self._drop(next(iter(self._clients)))
        client = _Client(sock, self._now_ns() + _LONGEST_NS)
        self._clients[client] = None
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _pause(self, length_ns: int) -> None:
        self._selector.unregister(self._listener)
        self._paused_until_ns = self._now_ns() + length_ns

    def _continue(self, client: _Client) -> None:
        try:
            if client.rest:
                self._write(client)
            else:
                self._read(client)
        except BlockingIOError:
            return
        except (OSError, MemoryError):
            self._drop(client)

    def _read(self, client: _Client) -> None:
        piece = client.sock.recv(MOST_REQUEST_BYTES)
        if not piece:
            self._drop(client)
        elif not client.answered:  # else it is discarded, until the client closes
            client.received = (client.received + piece)[:MOST_REQUEST_BYTES]
            pieces = answer(client.received, self._handlers)
            if pieces is not None:
                client.answered, client.received = True, b""
                client.rest = [memoryview(one) for one in pieces if one]
                self._selector.modify(client.sock, selectors.EVENT_WRITE, client)
                self._drop_slow(client)

    def _drop_slow(self, newest: _Client) -> None:
        """Drop the first of those that have an answer to take, until the rest is little enough."""
        unsent = {one: sum(map(len, one.rest)) for one in self._clients if one.rest}
        total = sum(unsent.values())
        for client, count in unsent.items():
            if total <= _MOST_UNSENT_BYTES or client is newest:
                return
            self._drop(client)
            total -= count

    def _write(self, client: _Client) -> None:
        taken = client.sock.send(client.rest[0][:_PIECE_BYTES])
        client.rest[0] = client.rest[0][taken:]
        if not client.rest[0]:
            del client.rest[0]
        if not client.rest:
            # Closed only after the client: a close with unread bytes would discard the answer.
            client.sock.shutdown(socket.SHUT_WR)
            self._selector.modify(client.sock, selectors.EVENT_READ, client)

    def _drop_late(self) -> None:
        now_ns = self._now_ns()
        for client in [client for client in self._clients if client.end_ns <= now_ns]:
            self._drop(client)
        self._resume(now_ns)

    def _resume(self, now_ns: int) -> None:
        if self._paused_until_ns is not None and self._paused_until_ns <= now_ns:
            self._paused_until_ns = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _drop(self, client: _Client) -> None:
        del self._clients[client]
        with suppress(OSError, ValueError, KeyError):
            self._selector.unregister(client.sock)
        client.sock.close()
