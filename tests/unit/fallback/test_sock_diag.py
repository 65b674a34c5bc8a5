"""Decoding of what sock_diag answers: every field, every kernel's length, any garbage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.tcp_model import (
    BOOT_NS,
    CGROUP,
    CLOSE_WAIT,
    COOKIE,
    FIN_WAIT1,
    FIN_WAIT2,
    INODE,
    SNDBUF,
    SYN_SENT,
    UID,
    Info,
    Tcp,
    attribute,
)

from xctl_probe.fallback import sock_diag
from xctl_probe.fallback.sock_diag import (
    UNKNOWN_WINDOW,
    SockDiag,
    TcpInfo,
    TcpSample,
    decode,
)

FIXED = 72  # struct inet_diag_msg
NAMES = {  # the probe's name of a field of struct tcp_info, where it is not the kernel's own
    "rto_us": "rto",
    "last_data_sent_ms": "last_data_sent",
    "last_data_recv_ms": "last_data_recv",
    "last_ack_recv_ms": "last_ack_recv",
    "rtt_us": "rtt",
    "busy_us": "busy_time",
    "rwnd_limited_us": "rwnd_limited",
    "sndbuf_limited_us": "sndbuf_limited",
}


def fixed(family=2, state=1):
    return bytes([family, state, 0, 0]) + bytes(FIXED - 4)


def test_every_field_of_the_message_is_read_where_it_stands():
    """A message with a value of its own in each field decodes to exactly those values."""
    message = (
        bytes([10, 1, 4, 5])
        + struct.pack(">HH", 40_009, 443)
        + bytes(15) + b"\1"
        + bytes.fromhex("fe80000000000000000000000000000b")
        + struct.pack("=IQ", 3, COOKIE)
        + struct.pack("=5I", 211, 223, 227, 229, 233)
        + attribute(7, struct.pack("=9I", 2, 3, 5, 7, 11, 13, 17, 19, 23))
        + attribute(21, struct.pack("=Q", 2**63 + 29))
    )  # fmt: skip
    sample = decode(message)
    assert sample is not None
    assert sample._replace(info=None) == TcpSample(
        cookie=COOKIE.to_bytes(8, "little"), state=1, timer=4, timer_retries=5,
        timer_expires_ms=211,
        local_address="::1", local_port=40_009, remote_address="fe80::b", remote_port=443,
        bound_ifindex=3, rqueue=223, wqueue=227, uid=229, inode=233, cgroup=2**63 + 29,
        rmem_alloc=2, sndbuf=7, wmem_queued=13, info=None,
    )  # fmt: skip
    assert set(sample.info) == {0, UNKNOWN_WINDOW}


def test_every_field_of_tcp_info_is_read_where_it_stands():
    """With each byte of struct tcp_info different, each name gets the kernel's field."""
    raw = bytes(n % 251 for n in range(7, 7 + 232))
    sample = decode(fixed() + attribute(2, raw))
    info = Info.from_buffer_copy(raw)
    assert sample is not None
    assert sample.info._asdict() == {
        name: getattr(info, NAMES.get(name, name)) for name in TcpInfo._fields
    }


@pytest.mark.parametrize("length", [0, 1, 7, 104, 120, 136, 160, 192, 224, 228, 232, 240, 280])
def test_an_older_or_newer_tcp_info_is_read_up_to_its_size(length):
    """Every kernel's length decodes: zero or unknown past its end; what is longer is cut."""
    raw = bytes(Info(state=1, total_retrans=7, bytes_acked=1_009, bytes_sent=1_013, snd_wnd=17))
    info = decode(fixed() + attribute(2, raw.ljust(280, b"\xaa")[:length])).info
    assert info.total_retrans == (7 if length >= 104 else 0)
    assert info.bytes_acked == (1_009 if length >= 128 else 0)
    assert info.bytes_sent == (1_013 if length >= 208 else 0)
    assert info.snd_wnd == (17 if length >= 232 else UNKNOWN_WINDOW)


def test_a_v4_mapped_address_is_ipv4():
    """A dual-stack listener's client is reported by the address people know."""
    mapped = bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 7])
    message = bytes([10, 1, 0, 0]) + bytes(4) + mapped + mapped + bytes(FIXED - 40)
    sample = decode(message)
    assert sample is not None
    assert (sample.local_address, sample.remote_address) == ("10.0.0.7", "10.0.0.7")


@given(st.binary(max_size=FIXED - 1))
def test_what_is_too_short_is_no_sample(message):
    """Below the fixed part there is nothing to decode, and nothing is raised."""
    assert decode(message) is None


@given(st.binary(min_size=FIXED, max_size=700))
@example(fixed() + b"\0\0\2\0")
@example(fixed() + b"\xff\xff\2\0")
@example(fixed() + b"\4\0\2\0" * 100)
@example(fixed() + b"\5\0\7\0" + b"\0")
def test_any_bytes_decode_to_a_sample_that_can_be_used(message):
    """No content raises or runs on for ever, and what is derived from it is never negative."""
    sample = decode(message)
    assert sample is not None
    assert sample.sent_payload >= 0 or sample.info.bytes_retrans > sample.info.bytes_sent
    assert sample.received_payload >= 0
    assert 0 <= sample.local_port <= 0xFFFF
    assert sample.opened in (True, False)


@given(st.integers(0, 400))
def test_a_message_cut_anywhere_decodes_or_is_none(cut):
    """An attribute that is cut off counts as absent; those before it stay."""
    message = Tcp().send(23).message()[:cut]
    sample = decode(message)
    assert (sample is None) == (len(message) < FIXED)
    if sample is not None:
        assert sample.inode == INODE
        assert sample.info.bytes_sent in (0, 23)
        assert sample.sndbuf in (0, SNDBUF)
        assert sample.cgroup in (None, CGROUP)


def test_a_whole_message_of_the_model_decodes():
    """The attributes of an ordinary answer are all found."""
    sample = Tcp().send(23).receive(29).sample()
    assert (sample.sndbuf, sample.cgroup, sample.uid) == (SNDBUF, CGROUP, UID)
    assert (sample.sent_payload, sample.received_payload, sample.opened) == (23, 29, True)


@pytest.mark.parametrize("opened", [True, False])
def test_sent_bytes_leave_out_syn_fin_and_what_was_sent_twice(opened):
    """23 messages of 7 bytes are 161 bytes, before and after the FIN, with and without loss."""
    tcp = Tcp(opened=opened)
    for _ in range(23):
        tcp.send(7)
    tcp.retransmitted_bytes, tcp.retransmits_ever = 21, 3
    assert tcp.sample().sent_payload == 161
    tcp.state, tcp.fin_sent = FIN_WAIT1, 1
    assert tcp.sample().sent_payload == 161
    tcp.state, tcp.fin_acked = FIN_WAIT2, 1
    assert tcp.sample().sent_payload == 161


def test_bytes_in_flight_are_not_sent_yet():
    """What the peer has not acknowledged may never arrive: at most the SYN's one counts early."""
    tcp = Tcp(opened=False).send(13).send(1_009, acked=False)
    assert tcp.sample().sent_payload == 13
    assert tcp.sample().written == 1_022


def test_a_kernel_without_bytes_sent_counts_acknowledged_ones_less_the_syn():
    """Before 4.19 `bytes_sent` is 0 for all; a connection without data has sent nothing."""
    raw = bytes(Info(state=1, bytes_acked=162))
    assert decode(fixed() + attribute(2, raw)).sent_payload == 161
    assert decode(fixed() + attribute(2, bytes(Info(bytes_acked=1)))).sent_payload == 0


def test_a_fin_is_no_byte_received():
    """The peer's FIN adds one to the kernel's count, and none to ours."""
    tcp = Tcp().receive(11)
    before = tcp.sample().received_payload
    tcp.state, tcp.fin_received = CLOSE_WAIT, 1
    assert (before, tcp.sample().received_payload) == (11, 11)


def test_a_fin_alone_is_no_byte_received():
    """A connection that the peer closes at once has received nothing."""
    tcp = Tcp(state=CLOSE_WAIT)
    tcp.fin_received = 1
    assert tcp.sample().received_payload == 0


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("script", ["idle", "sent", "in flight", "buffered", "lost"])
def test_who_opened_the_connection_shows_in_its_counts(opened, script):
    """The SYN's byte shows it, whatever is acknowledged, in flight, buffered or sent twice."""
    tcp = Tcp(opened=opened)
    if script != "idle":
        tcp.send(101, acked=script == "sent")
    if script == "buffered":
        tcp.fill(50_021)
    if script == "lost":
        tcp.retransmitted_bytes = 101
    assert tcp.sample().opened is opened


def test_a_connection_being_made_is_ours():
    """Only the side that opens is ever in SYN_SENT."""
    assert Tcp(state=SYN_SENT).sample().opened


@pytest.mark.parametrize("fin_acked", [0, 1])
def test_an_accepted_connection_stays_one_after_its_fin(fin_acked):
    """A server sampled while it waits for its client to close is not taken for a client."""
    tcp = Tcp(opened=False, state=FIN_WAIT2).receive(7).send(1_009)
    tcp.fin_sent, tcp.fin_acked = 1, fin_acked
    assert not tcp.sample().opened


class FakeNetlink:
    """Stands in for one netlink socket: what `dump` and `receive` hand out, in order."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.closed = False

    def dump(self, kind, request):
        assert (kind, len(request)) == (18, 60)  # TCPDIAG_GETSOCK, struct inet_diag_req
        yield from self.answers

    def receive(self):
        self.asked += 1
        assert self.asked < 1_000, "asked for ever"
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, OSError):
            raise answer
        return answer

    def join(self, group):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def diag(monkeypatch):
    """A SockDiag over two fakes: (its dumps, its announcements)."""

    def make(dumps=(), announced=()):
        made = [FakeNetlink(*dumps), FakeNetlink(*announced)]
        left = iter(made)
        monkeypatch.setattr(sock_diag, "NetlinkSocket", lambda _: next(left))
        return SockDiag(), *made

    return make


def netlink(kind, payload):
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload


def test_a_dump_gives_each_socket_and_no_scraps(diag):
    """Two sockets come out; what is too short to be one does not."""
    one, two = Tcp().send(3).message(), Tcp().send(5).message()
    asked, _, _ = diag([one, b"short", two, two[:71]])
    assert list(asked.sockets()) == [one, two]


def test_announcements_that_were_dropped_are_counted(diag):
    """ENOBUFS shows that some were lost: it is counted, and what still came is given."""
    message = Tcp().send(3).message()
    asked, _, _ = diag(
        announced=[OSError(105, "no buffer"), netlink(20, message), OSError(105, "")]
    )
    assert list(asked.destroyed()) == [message]
    assert asked.overruns == 2


def test_another_error_is_not_taken_for_an_overrun(diag):
    """It would be asked again for ever: it is raised."""
    asked, _, _ = diag(announced=[OSError(9, "bad descriptor")])
    with pytest.raises(OSError, match="bad descriptor"):
        list(asked.destroyed())
    assert asked.overruns == 0


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_announcements_of_any_content_are_read_to_their_end(buffers):
    """Hostile buffers give only whole messages, and end."""
    made = object.__new__(SockDiag)
    made._destroyed, made.overruns = FakeNetlink(*buffers), 0
    for message in made.destroyed():
        assert len(message) >= FIXED
    assert made.overruns == 0


def test_both_sockets_are_closed(diag):
    """No descriptor stays open."""
    asked, dumps, announced = diag()
    asked.close()
    assert dumps.closed
    assert announced.closed


def test_the_model_counts_from_its_own_clock():
    """`last_data_*` are ms before the sample, to the tick."""
    info = Tcp(tick_ms=4).at(7).send(3).at(29).receive(1).at(31).sample().info
    assert (info.last_data_sent_ms, info.last_data_recv_ms) == (24, 0)
    assert Tcp().at(31).now_ns == BOOT_NS + 31_000_000
