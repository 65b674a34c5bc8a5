"""Answers requests of `status` from the loop of a running probe.

A client sends one line, the name of a request, and reads one JSON document.  The loop polls the
sockets with its own, and nothing here waits: an answer is made in pieces, with the loop's work in
between.  Clients, their requests, their time and the time spent on them are bounded.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.status.peer import peer_of

# Makes a document in pieces of a millisecond at most.
Answer = Callable[[], Generator[None, None, bytes]]

MOST_CLIENTS = 8
MOST_REQUEST_BYTES = 64
CLIENT_NS = 2_000_000_000  # to send a request, and as much again to take the answer
_TURN_NS = 2_000_000  # of one turn of the loop
_SHARE = 50  # clients take at most this part (1/n) of a core
_NS_PER_MS = 1_000_000


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    until_ns: int
    request: bytes = b""
    making: Generator[None, None, bytes] | None = None
    rest: memoryview | None = None  # of the answer

    @property
    def events(self) -> int:
        """What to wait for; 0: only for its end."""
        if self.rest is not None:
            return select.POLLOUT
        return select.POLLIN if self.making is None else 0


@dataclass(slots=True)
class Server:
    """Serves `answers` by request, on a socket that listens; closes what it has accepted.

    Only this user and root are answered, whatever the mode of the socket.
    """

    listener: socket.socket
    answers: Mapping[bytes, Answer]
    clock: Callable[[], int] = time.monotonic_ns
    cpu_clock: Callable[[], int] = time.thread_time_ns  # a busy host makes no client wait for long
    _clients: dict[int, _Client] = field(default_factory=dict)  # by descriptor
    _resume_ns: int = 0  # when the next client is accepted

    def descriptors(self) -> Iterator[tuple[int, int]]:
        """Return the descriptors to wait for, each with its poll(2) events."""
        if len(self._clients) < MOST_CLIENTS and self.clock() >= self._resume_ns:
            yield self.listener.fileno(), select.POLLIN
        for fd, client in self._clients.items():
            yield fd, client.events

    def retry_ns(self) -> int | None:
        """Return the ns until `step` is due at the latest, None: when a descriptor is ready."""
        now_ns = self.clock()
        due_ns = [
            now_ns if client.making is not None else client.until_ns
            for client in self._clients.values()
        ]
        if self._resume_ns > now_ns:
            due_ns.append(self._resume_ns)
        return max(min(due_ns) - now_ns, 0) if due_ns else None

    def wake(self, fd: int, events: int) -> bool:
        """Handle a descriptor that is ready; False where it is none of these."""
        began_ns = self.cpu_clock()
        if fd == self.listener.fileno():
            self._accept(self.clock())
        elif (client := self._clients.get(fd)) is not None:
            self._serve(client, events)
        else:
            return False
        self._spent(began_ns)
        return True

    def step(self) -> None:
        """Make answers for at most two milliseconds, and drop clients whose time is over."""
        if not self._clients:
            return
        began_ns, now_ns = self.cpu_clock(), self.clock()
        for client in list(self._clients.values()):
            if client.making is None:
                if now_ns >= client.until_ns:
                    self._drop(client)
            elif not self._make(client, now_ns + _TURN_NS):
                break  # the others in later turns
        self._spent(began_ns)

    def close(self) -> None:
        """Close all connections and the listening socket.  Safe to call twice."""
        for client in list(self._clients.values()):
            self._drop(client)
        self.listener.close()

    def _spent(self, began_ns: int) -> None:
        took_ns = self.cpu_clock() - began_ns
        self._resume_ns = max(self._resume_ns, self.clock()) + took_ns * _SHARE

    def _accept(self, now_ns: int) -> None:
        while len(self._clients) < MOST_CLIENTS:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # none is left, or descriptors ran out
                return
            connection.setblocking(False)
            try:
                trusted = peer_of(connection).uid in (0, os.geteuid())
            except OSError:
                trusted = False
            if trusted:
                self._clients[connection.fileno()] = _Client(connection, now_ns + CLIENT_NS)
            else:
                connection.close()

    def _serve(self, client: _Client, events: int) -> None:
        if client.rest is not None and events & select.POLLOUT:
            self._write(client)
        elif client.making is None and events & select.POLLIN:
            self._read(client)
        elif events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            self._drop(client)

    def _read(self, client: _Client) -> None:
        try:
            part = client.connection.recv(MOST_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        client.request += part
        line, end, _ = client.request.partition(b"\n")
        if end:
            answer = self.answers.get(line.strip(), self._unknown)
            client.making = answer()
        elif not part or len(client.request) >= MOST_REQUEST_BYTES:
            self._drop(client)

    def _unknown(self) -> Generator[None, None, bytes]:
        yield
        known = ", ".join(name.decode() for name in self.answers)
        return ascii_json({"error": f"unknown request; known: {known}"})

    def _make(self, client: _Client, until_ns: int) -> bool:
        """Go on with an answer; False where the time is over before it is complete."""
        assert client.making is not None
        while True:
            try:
                next(client.making)
            except StopIteration as made:
                client.making, client.rest = None, memoryview(made.value)
                # That this probe was late, as under a quota of CPU, is not the client's fault.
                client.until_ns = self.clock() + CLIENT_NS
                self._write(client)
                return True
            except (OSError, MemoryError):  # descriptors or memory ran out
                self._drop(client)
                return True
            if self.clock() >= until_ns:
                return False

    def _write(self, client: _Client) -> None:
        assert client.rest is not None
        try:
            taken = client.connection.send(client.rest, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.rest = client.rest[taken:]
        if not client.rest:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        if client.making is not None:
            client.making.close()
        client.connection.close()
