"""Connections that are refused, time out, take long, or are reset."""

from __future__ import annotations

import pytest
from support.peer import in_namespace, is_within
from support.require import need_multipath

from xctl_probe.events import Cause, Direction, ErrorKind, SocketError, Stall

INPUT = "nft 'add table inet t; add chain inet t i { type filter hook input priority 0; }; "
DEAF = in_namespace(
    "sysctl -qw net.ipv4.tcp_syn_retries=1",
    INPUT + "add rule inet t i tcp dport 7777 drop'",
)
FORBIDDEN = in_namespace(
    INPUT + "add rule inet t i tcp dport 7777 reject with icmpx type admin-prohibited'",
)
FAST_OPEN = "sysctl -qw net.ipv4.tcp_fastopen=5"  # without a cookie of the server
IN_FIRST_SEND = in_namespace(
    FAST_OPEN,
    "sysctl -qw net.ipv4.tcp_syn_retries=1",
    INPUT + "add rule inet t i tcp dport 7777 drop'",
)
ANOTHER_ADDRESS = in_namespace(
    "ip link add here type veth peer name there",
    "ip link set there arp off up",
    "ip link set here arp off up",
    "ip addr add 10.9.9.1/24 dev here",
    "ip mptcp limits set subflow 4 add_addr_accepted 4",
    "ip mptcp endpoint add 10.9.9.77 signal",
)
FOUR_PORTS = in_namespace("sysctl -qw net.ipv4.ip_local_port_range='40000 40003'")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_refused(watch, peer, address):
    seen = watch()
    one = peer("connects.refused", address, 3)
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.REFUSED) == 3)
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.REFUSED) == 3
    assert seen.errors(one.pid, ErrorKind.RESET) == 0


def test_a_connect_that_times_out_shows_while_it_hangs_and_at_its_end(watch, peer):
    seen = watch()
    one = peer("connects.timed_out", prefix=DEAF)
    one.start()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 2)
    bounds = one.finish()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.TIMEOUT) == 1)
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert ended.direction is Direction.CONNECT
    assert ended.cause is Cause.CONNECTING
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)
    assert seen.errors(one.pid, ErrorKind.RETRANSMIT) >= 1
    while_it_hung = seen.stalls(one.pid, ongoing=True)
    assert {stall.tid for stall in while_it_hung} == {one.pid}


def test_a_connect_whose_end_the_kernel_skipped_is_over_as_the_next_one_begins(watch, peer):
    """Its last change of state interrupts the same program on its processor: it is not run then.

    Each is a stall of its own, of 1 s: the timeout of the first SYN.
    """
    seen = watch()
    one = peer("connects.timed_out_again", 120, 4, prefix=DEAF)
    one.start()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=False)) >= 120 * 3)
    one.finish()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=False)) >= 120 * 4)
    ended = seen.stalls(one.pid, ongoing=False)
    assert len(ended) == 120 * 4
    assert min(stall.duration_ns for stall in ended) >= 900_000_000


def test_a_connect_by_the_first_send_waits_from_that_on(watch, peer):
    """TCP Fast Open: connect() has returned long before, and nothing waits meanwhile."""
    seen = watch()
    one = peer("connects.opened_by_first_send", prefix=in_namespace(FAST_OPEN))
    lost = peer("connects.timed_out_in_first_send", prefix=IN_FIRST_SEND)
    one.go()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)
    assert seen.stalls(lost.pid) == []
    lost.start()
    one.go()
    seen.until(lambda: len(seen.stalls(lost.pid, ongoing=True)) >= 2)
    _, most_ns = lost.finish()
    seen.until(lambda: seen.stalls(lost.pid, ongoing=False))
    (ended,) = seen.stalls(lost.pid, ongoing=False)
    assert (ended.direction, ended.cause) == (Direction.CONNECT, Cause.CONNECTING)
    # It begins with the sample that finds the SYN on its way, which a busy host delays.
    least_ns = max(stall.duration_ns for stall in seen.stalls(lost.pid, ongoing=True))
    assert is_within(ended.duration_ns, (least_ns, most_ns))
    assert seen.stalls(one.pid) == []


def test_a_connect_by_multipath_tcp_is_one_wait(watch, peer):
    """Its first path is a socket of its own in the kernel, and connects at the same time."""
    need_multipath()
    seen = watch()
    one = peer("connects.timed_out_by_multipath", prefix=DEAF)
    one.start()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 7)
    lengths = [stall.duration_ns for stall in seen.stalls(one.pid, ongoing=True)]
    assert lengths == sorted(set(lengths))  # one in each drain
    bounds = one.finish()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.TIMEOUT) == 1)
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    seen.drain()
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert ended.direction is Direction.CONNECT
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)


def test_a_path_that_the_kernel_adds_is_no_wait_of_its_worker(watch, peer):
    """The process waits for nothing; what is sent again is its own."""
    need_multipath()
    seen = watch()
    one = peer("connects.joined_by_the_kernel", prefix=ANOTHER_ADDRESS)
    one.go()

    def of_the_path():
        found = (f for f in seen.events if isinstance(f, (SocketError, Stall)))
        return [f for f in found if f.socket.remote_address == "10.9.9.77"]

    seen.until(of_the_path)  # the SYN is sent again after a second
    seen.for_stall_lengths(5, peer("stalls.hangs_for_ever").pid)
    added = of_the_path()
    assert {getattr(f, "kind", None) for f in added} == {ErrorKind.RETRANSMIT}
    # Its owner is searched for in /proc, which may come too late.
    assert {f.owner.pid for f in added if f.owner} <= {one.pid}
    assert seen.stalls(one.pid) == []


def test_a_connect_that_is_given_up_was_a_stall_but_no_timeout(watch, peer):
    seen = watch()
    one = peer("connects.given_up", prefix=DEAF)
    bounds = one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)
    assert seen.errors(one.pid, ErrorKind.TIMEOUT) == 0


def test_a_connect_that_a_firewall_forbids(watch, peer):
    """ICMP makes it EHOSTUNREACH by IPv4, and EACCES by IPv6."""
    seen = watch()
    one = peer("connects.forbidden", prefix=FORBIDDEN)
    assert one.go() == ["EHOSTUNREACH", "EACCES"]
    seen.until(lambda: seen.errors(one.pid, ErrorKind.PROHIBITED))
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.PROHIBITED) == 1
    assert seen.errors(one.pid, ErrorKind.TIMEOUT) == 1


def test_connects_without_a_port_that_is_left(watch, peer):
    """Each is an error of its own socket; who gives up or succeeds has none."""
    seen = watch()
    one = peer("connects.without_a_port", prefix=FOUR_PORTS)
    found, inodes = one.go()
    assert found == [""] * 4 + ["EADDRNOTAVAIL"] * 7
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.NO_PORT) >= 7)
    seen.drain()
    reported = [f for f in seen.of(one.pid) if getattr(f, "kind", None) is ErrorKind.NO_PORT]
    assert [f.socket.inode for f in reported] == inodes[4:]
    assert {(f.socket.remote_address, f.socket.remote_port) for f in reported} == {
        ("127.0.0.1", 7000)
    }


def test_a_connect_that_is_given_up_had_a_port(watch, peer):
    seen = watch()
    one = peer("connects.given_up_with_a_port", prefix=DEAF)
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.REFUSED) == 1)
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.NO_PORT) == 0


def test_a_connection_that_the_administrator_aborts(watch, peer):
    """ss -K: the process reads ECONNABORTED."""
    seen = watch()
    one = peer("connects.aborted", prefix=in_namespace())
    if one.go() != "ECONNABORTED":
        pytest.skip("this kernel has no CONFIG_INET_DIAG_DESTROY")
    seen.until(lambda: seen.errors(one.pid, ErrorKind.ABORTED))
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.ABORTED) == 1
