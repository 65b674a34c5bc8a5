"""Who waits for a datagram or to send one, and who only seems to."""

from __future__ import annotations

import time

import pytest
from support.kernel_watch import answered_once_seen
from support.peer import OFF_BY_MS, in_namespace, is_within

from xctl_probe.events import Cause, Direction

MS = 1_000_000
STALL_MS = 100


@pytest.mark.parametrize(
    ("asks", "waits"),
    [
        ("unconnected", "poll"),
        ("unconnected", "select"),
        ("unconnected", "epoll"),
        ("unconnected", "recv"),
        ("connected", "poll"),
        ("connected", "epoll"),
    ],
)
def test_a_first_query_that_is_answered_late(watch, peer, asks, waits):
    seen = watch()
    if seen.source.attach == "bcc" and waits == "epoll":
        pytest.skip("declared: datagram_epoll")
    server = peer("datagrams.server")
    port = server.first
    client = peer("datagrams.resolver", port, asks, waits)
    server.start()
    client.start()
    seen.until(lambda: len(seen.stalls(client.pid, ongoing=True)) >= 2)
    server.finish()
    released_ns = time.monotonic_ns()
    server.go()
    begin_ns, begun_ns, end_ns = client.finish()
    seen.until(lambda: seen.stalls(client.pid, ongoing=False))
    reported = seen.stalls(client.pid)
    assert {stall.direction for stall in reported} == {Direction.RECEIVE}
    assert {stall.cause for stall in reported} == {Cause.NO_REPLY}
    assert {stall.socket.inode for stall in reported} == {client.first}
    assert {stall.tid for stall in reported if stall.ongoing} == {client.pid}
    remote = port if asks == "connected" else 0
    assert {stall.socket.remote_port for stall in reported} == {remote}
    (ended,) = (stall for stall in reported if not stall.ongoing)
    assert is_within(ended.duration_ns, (released_ns - begun_ns, end_ns - begin_ns))


def test_a_query_after_an_empty_one(watch, peer):
    """A datagram without a byte expects a reply as well: what answers it came not unasked."""
    answered_once_seen(watch(), peer("datagrams.resolver_whose_first_query_is_empty"))


def test_a_wait_is_over_with_its_socket(watch, peer):
    """The kernel reports no end of a UDP socket: the next iteration does not find it."""
    seen = watch()
    server = peer("datagrams.server")
    client = peer("datagrams.resolver", server.first, "unconnected", "poll")
    server.start()
    client.start()
    seen.until(lambda: seen.stalls(client.pid, ongoing=True))
    client.process.kill()
    client.process.wait()
    seen.until(lambda: seen.stalls(client.pid, ongoing=False))
    lengths = [stall.duration_ns for stall in seen.stalls(client.pid)]
    assert lengths == sorted(lengths)


def test_a_datagram_that_waits_for_room_in_the_send_buffer(watch, peer):
    """A line of 16 kbit/s takes 0.6 s for each."""
    seen = watch()
    sender = peer("datagrams.slow_line", prefix=in_namespace())
    sender.start()
    seen.until(lambda: seen.stalls(sender.pid, ongoing=True))
    longest_s = sender.finish()
    seen.until(lambda: seen.stalls(sender.pid, ongoing=False))
    seen.drain()
    reported = seen.stalls(sender.pid)
    assert {stall.direction for stall in reported} == {Direction.SEND}
    assert {stall.cause for stall in reported} == {Cause.SEND_BUFFER}
    assert {stall.socket.inode for stall in reported} == {sender.first}
    assert {stall.tid for stall in reported if stall.ongoing} == {sender.pid}
    lengths = [stall.duration_ns / MS for stall in reported]
    assert min(lengths) >= STALL_MS
    assert max(lengths) <= longest_s * 1000 + OFF_BY_MS


# Each of these has sent, waits, and is owed no reply: its peer sends nothing of its own accord.
SILENT = {
    "a server with a port of the kernel's choice, between requests": "server_between_requests",
    "a server that blocks for its next request": "server_in_receive",
    "a log sender whose event loop monitors other things, too": "log_sender_in_event_loop",
    "a log sender of asyncio": "log_sender_of_asyncio",
    "a log sender that reads nothing": "log_sender_that_reads_nothing",
    "a receiver of a stream that acknowledges it (QUIC, RTP)": "stream_receiver",
    "the same, blocked": "stream_receiver_in_receive",
    "a member of a multicast group that has announced itself (mDNS)": "multicast_member",
    "a socket that may send to all of a network (DHCP)": "broadcaster",
    "a service on a port of its own that has informed another": "service_on_its_own_port",
    "a subscriber that polls without a time limit": "subscriber_without_timeout",
    "a client between two queries (NTP, DNS)": "client_between_queries",
    "a client that has given up, and does something else": "client_that_gave_up",
    "a client that has not read its answer": "client_with_unread_answer",
}


@pytest.mark.parametrize("scene", SILENT.values(), ids=SILENT.keys())
def test_who_is_owed_nothing_is_silent(watch, peer, scene):
    """A resolver that asks after it shows when it would have been reported at the latest."""
    seen = watch()
    one = peer(f"datagrams.{scene}")
    one.go()
    one.start()
    server = peer("datagrams.server")
    resolver = peer("datagrams.resolver", server.first, "unconnected", "poll")
    server.start()
    resolver.start()
    seen.until(lambda: len(seen.stalls(resolver.pid, ongoing=True)) >= 2)
    assert seen.stalls(one.pid) == []
