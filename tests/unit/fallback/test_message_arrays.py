"""The arrays have what decoding each message gives, whatever the shape of the messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fake_host import framed
from support.tcp_model import Tcp, attribute

from xctl_probe.fallback import message_arrays
from xctl_probe.fallback.message_arrays import NO_CGROUP, messages_from, messages_of
from xctl_probe.fallback.sock_diag import decode
from xctl_probe.linux.netlink import messages

KIND, OTHER_KIND = 18, 20
FIXED = 72  # struct inet_diag_msg
# Each kernel's struct tcp_info stops after a field.
_INFO = st.sampled_from((0, 104, 120, 136, 160, 192, 224, 232, 240, 280)).flatmap(
    lambda size: st.binary(min_size=size, max_size=size).map(lambda raw: attribute(2, raw))
)
_SKMEM = st.binary(min_size=34, max_size=44).map(lambda raw: attribute(7, raw))
_CGROUP = st.binary(min_size=7, max_size=9).map(lambda raw: attribute(21, raw))
_OTHER = st.builds(attribute, st.sampled_from((1, 4, 8, 15)), st.binary(max_size=9))
_FIXED = st.binary(min_size=FIXED, max_size=FIXED)
_ATTRIBUTES = st.permutations(range(4)).flatmap(
    lambda order: st.tuples(*((_INFO, _SKMEM, _CGROUP, _OTHER)[n] for n in order)).map(b"".join)
)
_ANY = st.one_of(
    st.tuples(_FIXED, _ATTRIBUTES).map(b"".join),
    st.builds(lambda sent: Tcp().send(sent).message(), st.integers(1, 1_000)),
    st.tuples(_FIXED, st.binary(max_size=40)).map(b"".join),
)
SIGNED = ("bytes_acked", "bytes_received", "rwnd_limited_us", "bytes_sent", "bytes_retrans")


def decoded(message):
    """By the decoder of one message; the large counters as signed ones."""
    sample = decode(message)
    info = sample.info._asdict()
    names = (
        "backoff", "last_data_sent_ms", "last_data_recv_ms", "last_ack_recv_ms", "total_retrans",
        "segs_in", "notsent_bytes", "data_segs_in", "data_segs_out", *SIGNED,
    )  # fmt: skip
    values = {name: info[name] for name in names}
    values |= {name: int(np.uint64(values[name]).astype(np.int64)) for name in SIGNED}
    cgroup = NO_CGROUP if sample.cgroup is None else sample.cgroup
    return values | {
        "state": sample.state, "timer": sample.timer, "retries": sample.timer_retries,
        "port": sample.remote_port, "bound_ifindex": sample.bound_ifindex,
        "cookie": int.from_bytes(sample.cookie, "little"), "rqueue": sample.rqueue,
        "wqueue": sample.wqueue, "uid": sample.uid, "inode": sample.inode, "cgroup": cgroup,
        "rmem_alloc": sample.rmem_alloc, "sndbuf": sample.sndbuf,
        "wmem_queued": sample.wmem_queued,
    }  # fmt: skip


def rows(found):
    names = decoded(bytes(FIXED))
    return [{name: one[name].item() for name in names} for one in found.fields]


@settings(max_examples=300, deadline=None)
@given(st.lists(_ANY, max_size=7).flatmap(lambda some: st.permutations(some * 2)))
def test_they_have_what_decoding_gives(some):
    """Whatever stands there, and whatever attributes a kernel puts before, between and after."""
    known = [decoded(message) for message in some]
    by_payload = messages_from(some)
    in_a_dump = messages_of(memoryview(b"".join(framed(one, KIND) for one in some)), KIND)
    for found in (by_payload, in_a_dump):
        assert rows(found) == known
        assert [found.payload(index) for index in range(len(some))] == some


def test_messages_of_one_shape_are_read_where_they_are(monkeypatch):
    """A dump of equal messages is not copied."""
    monkeypatch.setattr(message_arrays, "_copied", None)
    some = [Tcp(opened=False).send(count).message() for count in (7, 11, 13)]
    found = messages_of(memoryview(bytearray(b"".join(framed(one, KIND) for one in some))), KIND)
    assert found.fields["bytes_acked"].tolist() == [7, 11, 13]


def test_numbers_are_never_read_from_another_place():
    """A message of the same length whose attributes stand elsewhere."""
    message = Tcp(opened=False).send(7).message()
    other = attribute(1, bytes(12))
    shifted = message[:FIXED] + other + message[FIXED : -len(other)]
    assert len(shifted) == len(message)
    some = [message, shifted, message]
    found = messages_of(memoryview(b"".join(framed(one, KIND) for one in some)), KIND)
    assert found.fields["bytes_acked"].tolist() == [7, decode(shifted).info.bytes_acked, 7]


def test_what_changes_with_activity_is_among_the_fields():
    """Time that passes is not; a byte or a segment either way is."""
    tcp = Tcp().send(7).receive(13)
    seen = [tcp.message(), tcp.at(1_009).message(), tcp.send(1).message(), tcp.receive(1).message()]
    seen.append(tcp.send(3, segments=0, acked=False).message())
    found = messages_from(seen).fields
    both = [(*one["activity"].tolist(), *one["queues"].tolist()) for one in found]
    assert both[0] == both[1]
    assert len(set(both)) == 4


@pytest.mark.parametrize("scrap", [framed(b"short", KIND), framed(bytes(200), OTHER_KIND), b""])
def test_scraps_and_other_kinds_are_no_sockets(scrap):
    message = framed(Tcp().send(7).message(), KIND)
    for buffer in (message + scrap + message, scrap + message * 2, message * 2 + scrap):
        found = messages_of(memoryview(buffer), KIND)
        assert len(found.fields) == 2


@given(st.binary(max_size=1_000))
@example(bytes(16))
@example(framed(Tcp().message(), KIND)[:-1])
@example(framed(Tcp().message(), KIND) + bytes(15))
def test_any_buffer_gives_the_messages_that_splitting_it_gives(buffer):
    """No content raises or is read beyond its end."""
    split = [one for kind, one in messages(buffer) if kind == KIND and len(one) >= FIXED]
    assert rows(messages_of(memoryview(buffer), KIND)) == [decoded(one) for one in split]
