"""What moves bytes in good order need not wake: it remembers what it would have, awake."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_host import Interfaces, Owners
from support.tcp_model import CLOSE_WAIT, INODE, MS, OWNER, SNDBUF, SOCKET, Tcp, attribute

from xctl_probe.fallback import idle_update
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.idle_connection import pack, unpack
from xctl_probe.fallback.sock_diag import change_detector_of
from xctl_probe.stalls.request_history import RequestHistory
from xctl_probe.traffic_totals import TrafficTotals

STALL_NS = 100 * MS
# What does not matter to whoever accepted: only who opened waits for answers.
FOR_OPENERS = {
    "order_ambiguous",
    "history",
    "peer_history",
    "pending_ns",
    "flow_begin_ns",
    "flow_bytes",
}


def packed(tcp):
    """A connection that rests, as the kernel shows `tcp` now."""
    sample, message = tcp.sample(), tcp.message()
    connection = Connection(
        SOCKET, sample, change_detector_of(message), None, sample.opened, RequestHistory(),
        tcp.now_ns,
        sample.counters, sent=sample.sent_payload, received=sample.received_payload,
        retransmits=sample.info.total_retrans,
    )  # fmt: skip
    connection.init_from_first_sample(tcp.now_ns, 0)
    connection.pending_ns = None
    assert connection.idle
    return pack(connection, connection.detector.fingerprint(message))


def remembered(connection):
    """All that is known of it but the sample itself, and what it has of its own."""
    values = {name: getattr(connection, name) for name in Connection.__slots__}
    del values["sample"], values["fingerprint"], values["detector"]
    if not connection.opened:
        for name in FOR_OPENERS:
            del values[name]
    return values


_CHANGES = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2_000_003)),
    st.tuples(st.just("receive"), st.integers(0, 2_000_003)),
    st.tuples(st.just("wait"), st.integers(0, 400)),
    st.tuples(st.just("acknowledge"), st.just(0)),
    st.tuples(st.just("uncounted"), st.just(7)),  # sent, and in no segment
)
_ODD = st.sampled_from(
    (None,) * 9
    + (
        ("state", CLOSE_WAIT), ("inode", 0), ("inode", INODE + 1), ("retransmits_ever", 1),
        ("wmem", SNDBUF), ("wmem", SNDBUF - 1), ("rmem", 1), ("rqueue", 7), ("written", 10**7),
        ("rwnd_limited_us", 1_009), ("fin_received", 1), ("retransmitted_bytes", 2**63),
    )
)  # fmt: skip


def through(tcp, changes, odd):
    """Let that happen."""
    for what, number in changes:
        if what == "wait":
            tcp.at(tcp.now_ms + number)
        elif what == "uncounted":
            tcp.send(number, segments=0)
        elif number:
            getattr(tcp, what)(number)
        else:
            tcp.acknowledge()
    if odd:
        setattr(tcp, *odd)


@settings(max_examples=1_000, deadline=None)
@given(
    opened=st.booleans(),
    tick_ms=st.sampled_from((1, 4, 10)),
    before=st.lists(_CHANGES, max_size=6),
    samples=st.lists(st.tuples(st.lists(_CHANGES, max_size=6), _ODD), min_size=1, max_size=3),
)
def test_observed_in_its_place_it_is_what_it_would_be_active(opened, tick_ms, before, samples):
    """Sample after sample while it is idle: each of its states; and active it is quiet."""
    tcp = Tcp(opened=opened, tick_ms=tick_ms).at(1_009)
    through(tcp, before, None)
    tcp.acknowledge()
    idle = packed(tcp)
    unpacked = unpack(packed(tcp), tcp.sample(), Interfaces())
    for changes, odd in samples:
        last_sample_ns = tcp.now_ns
        through(tcp.at(tcp.now_ms + 1), changes, odd)
        known = bytes(idle.memory), idle.peer_history.answered
        if not idle_update.update(idle, tcp.message(), tcp.now_ns, last_sample_ns, STALL_NS):
            assert (bytes(idle.memory), idle.peer_history.answered) == known
            return
        unpacked.observe(tcp.sample(), tcp.now_ns, last_sample_ns, STALL_NS)
        assert unpacked.idle
        assert remembered(unpack(idle, tcp.sample(), Interfaces())) == remembered(unpacked)


@given(
    opened=st.booleans(),
    moved=st.lists(st.tuples(st.integers(0, 2_000_003), st.integers(0, 2_000_003)), max_size=3),
)
def test_the_interval_is_over_as_it_is_when_active(opened, moved):
    """The same sums and the same marks."""
    tcp = Tcp(opened=opened).at(1_009)
    idle, owners, sums = packed(tcp), Owners(), TrafficTotals()
    owners.search_for({INODE: None})
    unpacked = unpack(packed(tcp), tcp.sample(), Interfaces())
    for sent, received in moved:
        last_sample_ns = tcp.now_ns
        through(tcp.at(tcp.now_ms + 13), [("send", sent), ("receive", received)], None)
        if not idle_update.update(idle, tcp.message(), tcp.now_ns, last_sample_ns, STALL_NS):
            return
        unpacked.observe(tcp.sample(), tcp.now_ns, last_sample_ns, STALL_NS)
    unpacked.sent, unpacked.received = (
        unpacked.sample.sent_payload,
        unpacked.sample.received_payload,
    )
    idle_update.interval_ended([idle], owners, sums)
    assert remembered(unpack(idle, tcp.sample(), Interfaces())) == remembered(unpacked)
    sent, received = sum(s for s, _ in moved), sum(r for _, r in moved)
    reported = [(f.owner, f.interface, f.sent_bytes, f.received_bytes) for f in sums.take()]
    assert reported == ([(OWNER, "eth0", sent, received)] if sent or received else [])


def test_an_exchange_does_not_wake_either_end():
    """What was asked and answered between two samples, on the side that asked and the other."""
    for opened in (True, False):
        tcp = Tcp(opened=opened).at(1_009)
        idle = packed(tcp)
        tcp.at(1_013).send(57).receive(53)
        assert idle_update.update(idle, tcp.message(), tcp.now_ns, 0, STALL_NS)


@pytest.mark.parametrize("pong", [0, 7])
def test_what_may_be_a_ping_wakes_who_opened(pong):
    """Whether its pong, in this sample or the next, asks for something is decided by that."""
    for opened in (True, False):
        tcp = Tcp(opened=opened).at(1_009)
        idle = packed(tcp)
        tcp.at(1_023).receive(7)
        if pong:
            tcp.send(pong)
        stays = idle_update.update(idle, tcp.message(), tcp.now_ns, 0, STALL_NS)
        assert stays is not opened


def test_a_request_wakes_it():
    """The side that asked may have to wait."""
    tcp = Tcp().at(1_009)
    idle = packed(tcp)
    message = tcp.at(1_013).send(7).message()
    assert not idle_update.update(idle, message, tcp.now_ns, 0, STALL_NS)


def test_numbers_are_never_read_from_another_place():
    """A message of the same length whose attributes stand elsewhere is decoded."""
    tcp = Tcp(opened=False).at(1_009)
    idle = packed(tcp)
    message = tcp.at(1_013).receive(7).message()
    other = attribute(1, bytes(12))
    shifted = message[:72] + other + message[72 : -len(other)]
    assert len(shifted) == len(message)
    known = bytes(idle.memory)
    assert not idle_update.update(idle, shifted, tcp.now_ns, 0, STALL_NS)
    assert bytes(idle.memory) == known


def test_a_bound_socket_wakes():
    """Its interface is found by its number, and may have another name by now."""
    tcp = Tcp(opened=False).at(1_009)
    idle = packed(tcp)
    message = bytearray(tcp.at(1_013).receive(7).message())
    message[40] = 3
    assert not idle_update.update(idle, bytes(message), tcp.now_ns, 0, STALL_NS)


def test_a_sustained_transfer_wakes_it():
    """It may break off: at 800 ms of 1 MB/s without a pause, and not before."""
    tcp = Tcp().at(1_009)
    idle = packed(tcp)
    for n in range(9):
        last_sample_ns = tcp.now_ns
        message = tcp.at(1_103 + n * 100).receive(200_003).message()
        still_idle = idle_update.update(idle, message, tcp.now_ns, last_sample_ns, STALL_NS)
        assert still_idle == (n < 8)
