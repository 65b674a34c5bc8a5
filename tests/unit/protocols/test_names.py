"""From samples to the names of sockets."""

from __future__ import annotations

from xctl_probe.events import App
from xctl_probe.protocols import names
from xctl_probe.protocols.names import Names, Sample

GET, OK = b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"
PING, PONG = b"PING\r\n", b"+PONG\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GRPC = bytes.fromhex("5f8b1d75d0620d263d4c4d6564")


def sample(payload, *, cookie=7, received=False, from_start=True):
    return Sample(cookie, received, from_start, len(payload), payload)


def named(*samples):
    found = Names()
    for one in samples:
        found.note(one)
    return found


def test_one_direction_is_enough_at_the_beginning_of_a_stream():
    found = named(sample(GET), sample(b"\x01\x02", received=True))
    assert found.app(7) == App("http1")
    assert found.counts == {"http1": 1}


def test_both_directions_have_to_agree_later():
    """In the middle of a stream a document may have anything in it."""
    first = sample(GET, from_start=False)
    assert named(first).app(7) is None
    assert named(first, sample(OK, received=True, from_start=False)).app(7) == App("http1")
    assert named(first, sample(PONG, received=True, from_start=False)).counts == {"unknown": 1}


def test_likely_messages_name_a_socket_together():
    assert named(sample(PING), sample(PONG, received=True)).app(7) == App("redis")


def test_two_messages_of_one_direction_prove_nothing():
    assert named(sample(PING), sample(PONG)).app(7) is None


def test_http2_is_grpc_once_its_headers_are_seen():
    found = named(sample(PREFACE))
    assert found.app(7) == App("http2")
    found.note(sample(GRPC, from_start=False))
    assert found.app(7) == App("grpc")
    assert +found.counts == {"grpc": 1}


def test_a_closed_socket_keeps_its_name_for_its_last_records(monkeypatch):
    monkeypatch.setattr(names, "_MOST_CLOSED", 2)
    found = named(*(sample(GET, cookie=cookie) for cookie in range(4)))
    for cookie in (0, 1, 2):
        found.closed(cookie)
    assert [found.app(cookie) is not None for cookie in range(4)] == [False, True, True, True]
    assert found.counts == {"http1": 4}  # since the start


def test_there_is_a_bound_on_open_sockets(monkeypatch):
    monkeypatch.setattr(names, "_MOST_SOCKETS", 2)
    found = named(*(sample(GET, cookie=cookie) for cookie in range(3)))
    found.note(sample(PING, cookie=10))
    found.note(sample(PING, cookie=11))
    found.note(sample(PING, cookie=12))
    found.note(sample(PONG, cookie=10, received=True))
    assert [found.app(cookie) for cookie in (0, 1, 2)] == [None, App("http1"), App("http1")]
    assert found.app(10) is None  # its first message was forgotten
