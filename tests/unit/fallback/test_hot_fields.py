"""The few numbers of a message are those that decoding all of it gives."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tcp_model import Tcp, attribute

from xctl_probe.fallback.sock_diag import change_detector_of, decode

FIXED = 72  # struct inet_diag_msg
_SKMEM = st.binary(min_size=36, max_size=44).map(lambda raw: attribute(7, raw))
_INFO = st.binary(min_size=232, max_size=280).map(lambda raw: attribute(2, raw))
_OTHER = st.builds(attribute, st.sampled_from((1, 4, 8, 15, 21)), st.binary(max_size=9))
_OTHERS = st.lists(_OTHER, max_size=3).map(b"".join)
_FIXED = st.binary(min_size=FIXED, max_size=FIXED).map(lambda raw: b"\2" + raw[1:])


def numbers(message):
    """As decoded: what the short form of the message has to give."""
    sample = decode(message)
    info = sample.info
    return (
        sample.state, sample.bound_ifindex, sample.rqueue, sample.wqueue, sample.inode,
        sample.rmem_alloc, sample.sndbuf, sample.wmem_queued,
        info.last_data_sent_ms, info.last_data_recv_ms, info.last_ack_recv_ms,
        info.total_retrans, info.bytes_acked, info.bytes_received, info.data_segs_in,
        info.data_segs_out, info.rwnd_limited_us, info.bytes_sent, info.bytes_retrans,
    )  # fmt: skip


def briefly(message):
    """As the short form gives it, the two headers apart."""
    hot = change_detector_of(message).hot_fields
    found = list(hot.layout.unpack_from(message))
    assert (found.pop(9), found.pop(5)) == (hot.info_header, hot.memory_header)
    return tuple(found)


@given(st.tuples(_FIXED, _OTHERS, _SKMEM, _OTHERS, _INFO, _OTHERS).map(b"".join))
def test_it_reads_what_decoding_reads(message):
    """Whatever stands there, and whatever attributes a kernel puts before, between and after."""
    assert briefly(message) == numbers(message)


@pytest.mark.parametrize("length", [0, 192, 228, 231])
def test_an_older_kernels_message_is_decoded_whole(length):
    """A `tcp_info` that stops before the window's size: zeros must not be read into others."""
    message = bytes(FIXED) + attribute(7, bytes(36)) + attribute(2, bytes(length))
    assert change_detector_of(message).hot_fields is None


@pytest.mark.parametrize(
    "attributes",
    [
        b"",
        attribute(2, bytes(232)),
        attribute(7, bytes(36)),
        attribute(7, bytes(35)) + attribute(2, bytes(232)),
        attribute(2, bytes(232)) + attribute(7, bytes(36)),
    ],
)
def test_a_message_of_another_kind_is_decoded_whole(attributes):
    """One of the two is missing, is too short, or comes first."""
    assert change_detector_of(bytes(FIXED) + attributes).hot_fields is None


def test_equal_shapes_share_their_layout():
    """Ten thousand sockets, one struct."""
    one, two = Tcp().send(7), Tcp(opened=False).receive(11)
    assert change_detector_of(one.message()) is change_detector_of(two.message())
    assert isinstance(change_detector_of(one.message()).hot_fields.layout, struct.Struct)
