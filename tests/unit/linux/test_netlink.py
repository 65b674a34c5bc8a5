"""Netlink framing on whatever a recv may return, and the end of a dump."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xctl_probe.linux import netlink as netlink_module
from xctl_probe.linux.netlink import NLMSG_DONE, NLMSG_ERROR, NetlinkSocket, error_of, messages

HEADER = 16


def message(kind, payload, length=None):
    """One netlink message, padded; `length` to lie about it."""
    size = HEADER + len(payload) if length is None else length
    head = struct.pack("=IHHII", size, kind, 2, 7, 0)
    return head + payload + b"\0" * (-len(payload) % 4)


DONE = message(NLMSG_DONE, bytes(4))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=61)), max_size=11))
def test_messages_come_out_as_they_were_put_in(parts):
    """Types and payloads of any length, padding left out."""
    assert list(messages(b"".join(message(*part) for part in parts))) == parts


@given(st.binary(max_size=1_000))
@example(bytes(HEADER))  # a length of zero must not be read for ever
@example(message(20, b"seven", length=3))
@example(message(20, b"", length=0xFFFFFFFF))
@example(message(20, b"ab") + bytes(15))
def test_any_buffer_is_split_to_its_end(buffer):
    """Every payload lies in the buffer, and there are no more of them than headers fit."""
    found = list(messages(buffer))
    assert sum(HEADER + len(payload) for _, payload in found) <= len(buffer)
    assert all(payload in buffer for _, payload in found)


@given(st.integers(0, 200))
def test_a_cut_buffer_gives_the_messages_before_the_cut(cut):
    """A message that is not whole is not given."""
    parts = [(20, b"a" * 29), (21, b"b" * 31), (22, b"c" * 37)]
    whole = [message(*part) for part in parts]
    bounds = [len(b"".join(whole[: n + 1])) for n in range(3)]
    unpadded = [end - (-len(payload) % 4) for end, (_, payload) in zip(bounds, parts, strict=True)]
    found = list(messages(b"".join(whole)[:cut]))
    assert found == parts[: sum(cut >= end for end in unpadded)]


def test_a_large_buffer_is_split_in_one_pass():
    """5,003 messages of 64 bytes, each once."""
    assert sum(1 for _ in messages(message(20, bytes(48)) * 5_003)) == 5_003


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (struct.pack("=i", -errno.ENOENT), errno.ENOENT),
        (struct.pack("=i", -errno.EPERM) + bytes(16), errno.EPERM),
        (b"\0\0\0", errno.EBADMSG),
        (b"", errno.EBADMSG),
    ],
)
def test_an_error_is_reported_by_its_number(payload, number):
    """The kernel's negative number becomes an OSError; what is cut short is a bad message."""
    error = error_of(payload)
    assert error is not None
    assert (error.errno, error.strerror) == (number, os.strerror(number))


def test_zero_is_no_error():
    """An acknowledgement and an ordinary end carry 0."""
    assert error_of(bytes(4)) is None
    assert error_of(bytes(23)) is None


@given(st.binary(max_size=23))
@example(struct.pack("=i", -(2**31)))
@example(struct.pack("=i", 7))
def test_any_payload_is_an_error_or_none(payload):
    """Nothing is raised, and a number that is none of the kernel's is a bad message."""
    error = error_of(payload)
    if error is not None:
        assert 0 < error.errno <= 4_095


class Kernel:
    """Stands in for the socket below: hands out the buffers, notes what was sent."""

    def __init__(self, *buffers):
        self.buffers = list(buffers)
        self.sent = []

    def send(self, request):
        self.sent.append(request)

    def recv_into(self, buffer, size):
        datagram = self.recv(size)
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def recv(self, _size, flags=0):
        if not self.buffers:
            if flags:
                raise BlockingIOError
            raise AssertionError("read on after the end")
        return self.buffers.pop(0)


def netlink(*buffers):
    made = object.__new__(NetlinkSocket)
    made._socket, made._sequence, made._chunks = Kernel(*buffers), 0, None
    made._is_answered = True
    return made


def in_chunks(made, kind, request):
    """As `dump`, by way of the chunks."""
    for chunk in made.dump_chunks(kind, request):
        yield from (payload for _, payload in messages(bytes(chunk)))


@pytest.fixture(params=[NetlinkSocket.dump, in_chunks], ids=["dump", "chunks"])
def dump(request):
    """Both ways to read a dump."""
    return request.param


def test_a_dump_request_is_framed(dump):
    """Length, type, REQUEST and DUMP, and a sequence number that grows."""
    made = netlink(DONE, DONE)
    list(dump(made, 18, b"seventeen bytes.."))
    list(dump(made, 20, b""))
    assert made._socket.sent == [
        struct.pack("=IHHII", 33, 18, 0x301, 1, 0) + b"seventeen bytes..",
        struct.pack("=IHHII", 16, 20, 0x301, 2, 0),
    ]


def test_a_dump_gives_its_answers_until_done(dump):
    """From several buffers, DONE behind the last ones: nothing is read after it."""
    first, last = message(20, b"a" * 7) + message(20, b"b" * 11), message(20, b"c" * 13) + DONE
    assert list(dump(netlink(first, last), 20, b"")) == [b"a" * 7, b"b" * 11, b"c" * 13]


def test_done_may_stand_alone(dump):
    """In a buffer of its own, with or without a number."""
    assert list(dump(netlink(message(20, b"a" * 7), DONE), 20, b"")) == [b"a" * 7]
    assert list(dump(netlink(DONE), 20, b"")) == []


def test_a_dump_is_over_when_the_kernel_acknowledges_it(dump):
    """NLMSG_ERROR with 0: no answers, and no error."""
    assert list(dump(netlink(message(NLMSG_ERROR, bytes(20))), 20, b"")) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOENT, errno.EINVAL])
def test_a_refused_dump_raises_the_kernels_error(dump, number):
    """The number reaches the caller, who falls back."""
    refusal = message(NLMSG_ERROR, struct.pack("=i", -number) + bytes(16))
    with pytest.raises(OSError, match=r"\w") as caught:
        list(dump(netlink(refusal), 20, b""))
    assert caught.value.errno == number


@pytest.mark.parametrize("alone", [True, False])
def test_a_dump_that_fails_on_its_way_raises_the_kernels_error(dump, alone):
    """netlink_dump() reports it in DONE; without tcp_diag that is ENOENT, and no socket at all."""
    end = message(NLMSG_DONE, struct.pack("=i", -errno.ENOENT))
    with pytest.raises(OSError, match=r"\w") as caught:
        list(dump(netlink(end if alone else message(20, b"x" * 8) + end), 20, b""))
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("scrap", [b"", b"\0", bytes(15)])
def test_a_scrap_is_a_bad_message(dump, scrap):
    """A kernel that answers less than a header is not read any further."""
    with pytest.raises(OSError, match="cut short"):
        list(dump(netlink(scrap), 20, b""))


@given(st.lists(st.binary(min_size=HEADER, max_size=64), max_size=7))
def test_a_dump_of_any_content_is_complete_or_raises_oserror(buffers):
    """Hostile answers give payloads until an end or an error, and never one twice."""
    given_out = []
    try:
        for payload in netlink(*buffers, DONE).dump(20, b""):
            given_out.append(payload)
    except OSError:
        pass
    everything = [part for buffer in buffers for _, part in messages(buffer)]
    assert given_out == everything[: len(given_out)]


class FailingOnce:
    """A socket whose second read fails for want of memory."""

    def __init__(self, real):
        self.real, self.reads = real, 0
        self.send = real.send

    def recv(self, size, flags=0):
        return self._unless_second(self.real.recv, size, flags)

    def recv_into(self, buffer, size):
        return self._unless_second(self.real.recv_into, buffer, size)

    def _unless_second(self, read, *what):
        self.reads += 1
        if self.reads == 2:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return read(*what)


def listeners(count):
    """So many sockets of this process that listen, and their inodes."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    return made, {os.fstat(one.fileno()).st_ino for one in made}


@pytest.mark.parametrize("ending", ["stops", "fails"])
def test_what_is_left_of_a_dump_is_not_the_answer_to_the_next_request(dump, ending):
    """Who asked stops after the first of many answers, or a read fails; real sockets."""
    made, inodes = listeners(300)  # three pieces
    request = struct.pack("=BBBB48sII", 0, 0, 0, 0xFF, b"", 1 << 10, 0)
    with contextlib.ExitStack() as stack:
        for one in made:
            stack.enter_context(one)
        asked = NetlinkSocket(4)  # NETLINK_SOCK_DIAG
        stack.callback(asked.close)
        if ending == "stops":
            next(dump(asked, 18, request))
        else:
            real, asked._socket = asked._socket, FailingOnce(asked._socket)
            with pytest.raises(OSError, match="No buffer space"):
                list(dump(asked, 18, request))
            asked._socket = real
        found = [struct.unpack_from("=I", one, 68)[0] for one in dump(asked, 18, request)]
        assert sorted(inode for inode in found if inode in inodes) == sorted(inodes)


def test_nothing_waiting_is_none():
    """A multicast socket without messages does not block."""
    made = netlink(b"news")
    assert made.receive() == b"news"
    assert made.receive() is None


def test_a_large_dump_comes_in_chunks_of_whole_messages(monkeypatch):
    """700 datagrams of 32 KiB, of which each chunk has as many as fit."""
    monkeypatch.setattr(netlink_module, "_CHUNK_BYTES", 1 << 18)
    datagrams = [message(20, n.to_bytes(4, "little") + bytes(28)) * 682 for n in range(700)]
    sizes, found = [], []
    for chunk in netlink(*datagrams[:-1], datagrams[-1] + DONE).dump_chunks(20, b""):
        sizes.append(len(chunk))
        found += [int.from_bytes(chunk[at + 16 : at + 20], "little") for at in
                  range(0, len(chunk), 48)]  # fmt: skip
    assert found == [n for n in range(700) for _ in range(682)]
    assert max(sizes) <= 1 << 18
    assert len(sizes) < 160


def test_an_end_in_the_data_is_none_of_the_dump():
    """The last bytes of a message are those of DONE: the messages are counted off."""
    sly = message(20, bytes(7 * 4) + DONE)
    made = netlink(sly, message(20, b"a" * 8) + DONE)
    assert list(in_chunks(made, 20, b"")) == [bytes(7 * 4) + DONE, b"a" * 8]
