"""The server of `status`: what it answers, in which time, and whom it drops."""

from __future__ import annotations

import os
import select
import socket

import pytest

from xctl_probe.status import server as module
from xctl_probe.status.directory import connect, listen
from xctl_probe.status.peer import Peer
from xctl_probe.status.server import CLIENT_NS, MOST_CLIENTS, MOST_REQUEST_BYTES, Server

MS_NS = 1_000_000
PIECES = 7
LARGE_BYTES = 8 << 20  # no buffer of a socket takes as much


class Clock:
    def __init__(self):
        self.now_ns = 1_009

    def __call__(self):
        return self.now_ns


class Served:
    """A server in a directory of the test's own, and its clients.

    `turn` is what the loop does: it polls, wakes and steps.
    """

    def __init__(self, folder):
        self.clock, self.cpu_clock = Clock(), Clock()
        self.directory = os.open(folder, os.O_RDONLY)
        listener, self.name = listen(self.directory)
        self.made = 0  # pieces of answers
        answers = {b"status": self.pieces, b"large": self.large, b"broken": self.broken}
        self.server = Server(listener, answers, self.clock, self.cpu_clock)
        self.clients = []

    def pieces(self):
        for _ in range(PIECES):
            self.made += 1
            self.clock.now_ns += 700_000
            self.cpu_clock.now_ns += 100_000
            yield
        return b'{"pid":23}\n'

    def large(self):
        yield
        return b"x" * LARGE_BYTES

    def broken(self):
        yield
        raise OSError

    def connect(self, request=b""):
        client = connect(self.directory, self.name, os.geteuid())
        client.setblocking(False)
        client.send(request)
        self.clients.append(client)
        return client

    def turn(self):
        poll = select.poll()
        for fd, events in self.server.descriptors():
            poll.register(fd, events)
        for fd, events in poll.poll(0):
            assert self.server.wake(fd, events)
        self.server.step()

    def turns(self, count=20):
        """So many, with the time between two clients in between."""
        for _ in range(count):
            self.turn()
            self.clock.now_ns = max(self.clock.now_ns, self.server._resume_ns)

    def close(self):
        for client in self.clients:
            client.close()
        self.server.close()
        os.close(self.directory)


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    yield made
    made.close()


def received(client):
    """What has come by now; None where nothing has."""
    try:
        return client.recv(1 << 16)
    except BlockingIOError:
        return None


def closed(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:  # it had sent more than was read
        return True
    except BlockingIOError:
        return False


def test_a_request_is_answered_with_one_document_and_the_end(served):
    client = served.connect(b"status\n")
    served.turns()
    assert received(client) == b'{"pid":23}\n'
    assert closed(client)


def test_a_request_may_come_in_parts_and_with_the_line_end_of_a_terminal(served):
    client = served.connect(b"sta")
    served.turns(3)
    assert received(client) is None
    client.send(b"tus\r\n")
    served.turns()
    assert received(client) == b'{"pid":23}\n'


def test_a_client_that_has_shut_its_side_down_is_answered(served):
    """As `echo status | nc -U` does."""
    client = served.connect(b"status\n")
    client.shutdown(socket.SHUT_WR)
    served.turns()
    assert received(client) == b'{"pid":23}\n'


def test_an_unknown_request_lists_those_that_are_known(served):
    client = served.connect(b"statsu\n")
    served.turns()
    known = b"unknown request; known: status, large, broken"
    assert received(client) == b'{"error":"%b"}\n' % known


def test_one_turn_takes_two_milliseconds_and_the_loop_goes_on_at_once(served):
    """Three pieces of 0.7 ms are above two; the answer takes three turns."""
    client = served.connect(b"status\n")
    served.turn()
    assert served.made == 0  # accepted
    served.turn()
    assert (served.made, served.server.retry_ns()) == (3, 0)
    served.turn()
    assert served.made == 6
    assert received(client) is None
    served.turn()
    assert received(client) == b'{"pid":23}\n'


def test_while_no_one_asks_there_is_one_descriptor_and_no_timer(served):
    """Before the first client, and once the last one is gone."""
    listener = served.server.listener.fileno()
    assert list(served.server.descriptors()) == [(listener, select.POLLIN)]
    assert served.server.retry_ns() is None
    served.connect(b"status\n")
    served.turns()
    assert list(served.server.descriptors()) == [(listener, select.POLLIN)]
    assert served.server.retry_ns() is None


def test_clients_take_a_fiftieth_of_a_core(served):
    """The answer takes 0.7 ms of it, so 35 ms pass before the next one is accepted.

    On a busy host it takes longer, and that is no reason to wait.
    """
    served.connect(b"status\n")
    served.turn()
    served.turn()
    first_ns = served.clock.now_ns
    for _ in range(3):
        served.turn()
    assert served.made == PIECES
    assert served.server.retry_ns() == first_ns + 35 * MS_NS - served.clock.now_ns
    assert list(served.server.descriptors()) == []
    served.clock.now_ns = first_ns + 35 * MS_NS
    assert served.server.retry_ns() is None
    assert [events for _, events in served.server.descriptors()] == [select.POLLIN]


def test_a_client_that_never_reads_is_dropped(served):
    """What it has not taken is given back after two seconds."""
    client = served.connect(b"large\n")
    served.turn()
    served.turn()
    assert [events for _, events in served.server.descriptors()] == [select.POLLIN, select.POLLOUT]
    served.clock.now_ns += CLIENT_NS
    served.turn()
    assert len(list(served.server.descriptors())) == 1
    taken = 0
    while part := received(client):
        taken += len(part)
    assert 0 < taken < LARGE_BYTES


def test_a_client_that_reads_slowly_gets_all_of_it(served):
    client = served.connect(b"large\n")
    taken = 0
    for _ in range(LARGE_BYTES // (1 << 16) * 4):
        served.turn()
        taken += len(received(client) or b"")
    assert taken == LARGE_BYTES


def test_a_probe_that_is_late_does_not_drop_its_client(served):
    """A quota may stop it for seconds while it makes an answer."""
    client = served.connect(b"status\n")
    served.turn()
    served.clock.now_ns += CLIENT_NS
    served.turns()
    assert received(client) == b'{"pid":23}\n'


def test_a_client_that_never_asks_is_dropped(served):
    client = served.connect()
    served.turn()
    assert served.server.retry_ns() == CLIENT_NS
    served.clock.now_ns += CLIENT_NS
    served.turn()
    assert closed(client)


@pytest.mark.parametrize("request_", [b"s" * MOST_REQUEST_BYTES, b"\0" * 4_099])
def test_a_request_without_an_end_is_dropped(served, request_):
    client = served.connect(request_)
    served.turns(4)
    assert closed(client)
    assert len(list(served.server.descriptors())) == 1


def test_a_client_that_leaves_is_forgotten(served):
    """Before its request, and while its answer is made."""
    served.connect().close()
    served.connect(b"status\n").close()
    served.turns()
    assert len(list(served.server.descriptors())) == 1


def test_the_ninth_client_waits_for_one_to_leave(served):
    """It is not refused: the kernel queues it."""
    for _ in range(MOST_CLIENTS):
        served.connect()
        served.turns(1)
    ninth = served.connect(b"status\n")
    served.turns()
    assert received(ninth) is None
    served.clients[0].close()
    served.turns()
    assert received(ninth) == b'{"pid":23}\n'


def test_another_user_is_not_answered(served, monkeypatch):
    """Whatever the mode of the socket let in."""
    monkeypatch.setattr(module, "peer_of", lambda _: Peer(4_241, 1_009))
    client = served.connect(b"status\n")
    served.turns()
    assert closed(client)
    assert served.made == 0


def test_root_is_answered(served, monkeypatch):
    monkeypatch.setattr(module, "peer_of", lambda _: Peer(4_241, 0))
    client = served.connect(b"status\n")
    monkeypatch.setattr(module.os, "geteuid", lambda: 1_009)
    served.turns()
    assert received(client) == b'{"pid":23}\n'


def test_an_answer_that_fails_for_want_of_descriptors_is_none(served):
    """The client sees the end; the probe goes on."""
    client = served.connect(b"broken\n")
    other = served.connect(b"status\n")
    served.turns()
    assert closed(client)
    assert received(other) == b'{"pid":23}\n'


def test_foreign_descriptors_are_not_handled(served):
    reader, writer = os.pipe()
    assert not served.server.wake(reader, select.POLLIN)
    os.close(reader)
    os.close(writer)
