"""Exact byte counts, over every way into and out of a socket that this kernel has."""

from __future__ import annotations

from pathlib import Path

import pytest

ADDRESSES = {"IPv4": "127.0.0.1", "IPv6": "::1", "mapped": "::ffff:127.0.0.1"}
IPV4 = ADDRESSES["IPv4"]


@pytest.fixture(params=ADDRESSES.values(), ids=ADDRESSES.keys())
def address(request):
    return request.param


def setting(name):
    """A sysctl, None where this kernel does not have it."""
    path = Path("/proc/sys") / name
    return path.read_text().strip() if path.exists() else None


@pytest.fixture
def attached(watch):
    """The variant in use."""
    return watch().source.attach


@pytest.fixture
def moved(watch, peer):
    """Run one step of a peer; assert what its process sent and received, to the byte."""

    def check(name, *arguments, count):
        seen = watch()
        one = peer(name, *arguments)
        one.go()
        seen.until(lambda: (seen.sent(one.pid), seen.received(one.pid)) >= (count, count))
        seen.drain()
        assert (seen.sent(one.pid), seen.received(one.pid)) == (count, count)
        return list(seen.of(one.pid))

    return check


def test_a_stream(moved, address):
    events = moved("bytes.stream", address, count=161)
    assert {event.interface for event in events} == {"lo"}


def test_connections_that_live_for_a_moment(moved, address):
    """Their last totals come with their end."""
    moved("bytes.short_connections", address, count=29 * 44)


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_datagrams(moved, address, connected):
    moved("bytes.datagrams", address, int(connected), count=161)


def test_datagrams_of_sockets_that_die_at_once(moved, address):
    """A resolver makes a socket for each question."""
    moved("bytes.short_lived_datagram_sockets", address, count=37 * 36)


def test_segmentation_offload_and_cork_count_what_was_given(moved):
    moved("bytes.segmentation_offload_and_cork", IPV4, count=161 + 24)


def test_a_peek_is_not_a_receive(moved, address):
    moved("bytes.peek", address, count=31)


def test_partial_sends_and_eagain_count_what_went(moved):
    """1,000,003 bytes through a full, non-blocking socket."""
    moved("bytes.partial_sends", IPV4, count=1_000_003)


def test_sendfile_and_splice_into_a_socket_are_counted_once(moved):
    moved("bytes.sendfile_and_splice", IPV4, count=11_016)


def test_zerocopy_counts_once_and_its_notice_not_at_all(moved):
    moved("bytes.zerocopy", IPV4, count=10_007)


def test_multipath_tcp_counts_what_the_process_gave(moved, attached):
    if setting("net/mptcp/enabled") != "1":
        pytest.skip("this kernel has no MPTCP")
    if attached == "kprobe":
        pytest.skip("what such a socket receives passes no kprobe")
    moved("bytes.multipath", count=161)


def test_what_is_read_after_a_reset_counts(moved):
    """The socket is closed for the kernel, yet there was data to read."""
    moved("bytes.read_after_reset", count=101)


def test_two_processes_on_one_socket_have_each_their_own(watch, peer):
    """They send in turns, many times between two drains."""
    seen = watch()
    one = peer("bytes.two_processes")
    child = one.first
    one.go()
    all_sent = 31 * 20
    seen.until(lambda: seen.received(one.pid) >= all_sent)
    seen.until(lambda: seen.sent(one.pid) + seen.sent(child) >= all_sent)
    assert (seen.sent(one.pid), seen.sent(child)) == (31 * 7, 31 * 13)
    assert (seen.received(one.pid), seen.received(child)) == (31 * 20, 0)


def test_a_passed_socket_belongs_to_who_uses_it(watch, peer):
    seen = watch()
    one = peer("bytes.passed_socket")
    child = one.first
    one.go()
    seen.until(lambda: seen.received(one.pid) >= 60 <= seen.sent(one.pid) + seen.sent(child))
    assert (seen.sent(one.pid), seen.sent(child)) == (17, 43)


def test_splice_from_a_socket_is_what_tracepoints_miss(watch, peer):
    """`check` lists it; should a kernel begin to show it, this test fails."""
    seen = watch()
    visible = 0 if seen.source.attach.startswith("tracepoint") else 1_009
    one = peer("bytes.splice_from_socket")
    one.go()
    seen.until(lambda: seen.sent(one.pid) == 1_009)
    seen.drain()
    assert seen.received(one.pid) == visible


def test_io_uring_counts_like_a_call(moved):
    """Also where a receive has to wait, and is finished by another thread of the kernel."""
    if setting("kernel/io_uring_disabled") == "2":
        pytest.skip("io_uring is disabled here")
    moved("bytes.io_uring", count=760)
