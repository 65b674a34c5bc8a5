"""The server: many clients on one thread, of which none holds up another."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from xctl_probe.prometheus import server as module
from xctl_probe.prometheus.address import Address
from xctl_probe.prometheus.http import Answer
from xctl_probe.prometheus.server import Server

REQUEST = b"GET /metrics HTTP/1.1\r\n\r\n"
LARGE = b"x" * (20 << 20)  # more than the buffers of both sockets
SECOND_NS = 1_000_000_000
ENOUGH_S = 45.0  # only where a test fails


class Clock:
    """A monotonic clock that stands still; the test sets it."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Accept without pauses: the clock stands still."""
    monkeypatch.setattr(module, "_APART_NS", 0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    handlers = {
        "/metrics": lambda _accept: Answer(200, b"metrics"),
        "/large": lambda _accept: Answer(200, LARGE),
    }
    made = Server(Address("127.0.0.1", 0), handlers, clock)
    yield made
    made.close()


@pytest.fixture
def connect(server):
    made = []

    def client(*pieces):
        sock = socket.create_connection((server.address.host, server.address.port), ENOUGH_S)
        made.append(sock)
        for piece in pieces:
            sock.sendall(piece)
        return sock

    yield client
    for sock in made:
        sock.close()


def serve_until(server, condition):
    while not condition():
        server.serve()


def read_all(server, sock):
    """What a client gets until the server closes its side; None where it was reset."""
    got = []

    def read():
        try:
            while piece := sock.recv(1 << 20):
                got.append(piece)
            sock.shutdown(socket.SHUT_WR)
        except ConnectionResetError:
            got.append(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    serve_until(server, lambda: server._clients)
    serve_until(server, lambda: not server._clients)
    reader.join(ENOUGH_S)
    return None if None in got else b"".join(got)


def test_a_client_gets_its_answer_and_is_closed(server, connect):
    found = read_all(server, connect(REQUEST))
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.endswith(b"\r\n\r\nmetrics")


def test_a_large_answer_arrives_whole(server, connect):
    found = read_all(server, connect(b"GET /large HTTP/1.1\r\n\r\nand more than a request"))
    assert found.partition(b"\r\n\r\n")[2] == LARGE


def test_a_slow_client_delays_no_other(server, connect, clock):
    """One reads nothing, one sends half a request; both have ten seconds."""
    connect(b"GET /large HTTP/1.1\r\n\r\n")
    connect(b"GET /metr")
    serve_until(server, lambda: len(server._clients) == 2)
    third = connect(REQUEST)
    third.shutdown(socket.SHUT_WR)
    got = b""
    third.settimeout(0)
    while not got.endswith(b"metrics"):
        server.serve()
        try:
            got += third.recv(4_096)
        except BlockingIOError:
            continue
    third.close()
    serve_until(server, lambda: len(server._clients) == 2)
    clock.now_ns = 10 * SECOND_NS
    serve_until(server, lambda: not server._clients)


def test_of_too_many_clients_the_first_is_dropped(server, connect):
    """Anybody on the host can connect: no number of idle connections keeps a client out."""
    idle = [connect() for _ in range(3 * module._MOST_CLIENTS)]
    serve_until(server, lambda: len(server._clients) == module._MOST_CLIENTS)
    last = connect(REQUEST)
    last.settimeout(0)
    got = b""
    while not got.endswith(b"metrics"):
        server.serve()
        assert len(server._clients) <= module._MOST_CLIENTS
        try:
            got += last.recv(4_096)
        except BlockingIOError:
            continue
    assert idle[0].recv(1) == b""


def test_of_too_much_that_waits_the_first_is_dropped(server, connect):
    """Each interval has its own text, which clients that read nothing would keep."""
    slow = [connect(b"GET /large HTTP/1.1\r\n\r\n") for _ in range(3)]
    serve_until(server, lambda: slow[-1].getsockname() in peers(server))
    (kept,) = server._clients
    assert kept.sock.getpeername() == slow[-1].getsockname()
    assert sum(map(len, kept.rest)) <= module._MOST_UNSENT_BYTES


def peers(server):
    """The clients whose answer is being sent."""
    return {client.sock.getpeername() for client in server._clients if client.rest}


def test_connections_are_accepted_one_after_the_other(server, connect, clock, monkeypatch):
    """However many come at once, answers take a bounded part of the CPU."""
    monkeypatch.setattr(module, "_APART_NS", 50_000_000)
    for _ in range(3):
        connect(b"GET /half")
    for accepted in (1, 2, 3):
        serve_until(server, lambda: server._paused_until_ns is not None)
        assert len(server._clients) == accepted
        clock.now_ns += 49_999_999
        server._resume(clock.now_ns)
        assert server._paused_until_ns is not None
        clock.now_ns += 1
        server._resume(clock.now_ns)


def test_a_client_that_leaves_is_forgotten(server, connect):
    connect(b"GET").close()
    sock = connect(b"GET /large HTTP/1.1\r\n\r\n")
    serve_until(server, lambda: any(one.rest for one in server._clients))
    sock.close()
    serve_until(server, lambda: not server._clients)


def test_without_descriptors_the_next_accept_waits_a_second(server, connect, clock, monkeypatch):
    """The listener stays readable meanwhile, and the thread must not spin."""

    class Refusing:
        """A listener whose accept fails as long as the test wants."""

        def __init__(self, listener):
            self._listener, self.refuses = listener, True

        def accept(self):
            if self.refuses:
                raise OSError(errno.EMFILE, "Too many open files")
            return self._listener.accept()

        def __getattr__(self, name):
            return getattr(self._listener, name)

    refusing = Refusing(server._listener)
    server._selector.unregister(server._listener)
    server._listener = refusing
    server._selector.register(refusing, module.selectors.EVENT_READ)
    sock = connect(REQUEST)
    server.serve()
    assert server._paused_until_ns == SECOND_NS
    refusing.refuses = False
    clock.now_ns = SECOND_NS
    assert read_all(server, sock).endswith(b"metrics")
    assert server._paused_until_ns is None


def test_an_address_that_is_taken_is_an_error(server, clock):
    with pytest.raises(OSError, match="Address already in use"):
        Server(server.address, {}, clock)
