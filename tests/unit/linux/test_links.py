"""Interfaces as rtnetlink and /proc/net/dev show them: any bytes in a name, any message."""

from __future__ import annotations

import errno
import struct
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.linux import links
from xctl_probe.linux.links import Birth, Counts, End, Link, Links, parse_dev, parse_link
from xctl_probe.linux.netlink import HEADER

NEW, GONE = 16, 17
# As rtnl_link_stats64 has them: packets, bytes, errors, dropped; ...; missed
STATS = (1, 2, 1_009, 2_003, 3, 5, 7, 11, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0)
COUNTS = Counts(1_009, 2_003, 3, 5, 7 + 13, 11)
DEV = b"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     101       1    0    0    0     0          0         0      101       1    0    0    0     0       0          0
a\xff\xfeb: 1009 1 3 20 0 0 0 0 2003 2 5 11 0 0 0 0
"""  # noqa: E501


def attribute(kind, value):
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def message(name=b"eth0", index=7, family=0, stats=STATS):
    parts = [struct.pack("=BxHiII", family, 1, index, 0, 0), attribute(3, name + b"\0")]
    if stats:
        parts.append(attribute(23, struct.pack(f"={len(stats)}Q", *stats)))
    return b"".join(parts)


def test_a_message_has_name_index_and_counters():
    """What the ring missed is dropped, as in /proc/net/dev."""
    assert parse_link(message()) == Link(7, "eth0", COUNTS)


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"a\xff\xfeb", r"a\xff\xfeb"), ("wän".encode(), "wän"), (b"\x1b[2J", "\x1b[2J")],
    ids=["not UTF-8", "UTF-8", "a code"],
)  # fmt: skip
def test_a_name_is_bytes(raw, text):
    """One that is not UTF-8 has text, too, and the same from both places."""
    assert parse_link(message(raw)).name == text
    (found,) = parse_dev(b"\n\n" + raw + b":" + b" 0" * 16)
    assert found.name == text


def test_what_the_user_gives_is_the_name_that_is_shown():
    """The command line has bytes that are not UTF-8 as surrogates; a copied name is text."""
    shown = links.name_text(b"a\xff\xfeb")
    assert links.given_name("a\udcff\udcfeb") == links.given_name(shown) == shown
    assert links.given_name("\ud800") == "\ud800"  # no command line has it, a file may


@pytest.mark.parametrize(
    "odd", [message(family=7), message(stats=()), b"", message()[:20]],
    ids=["a bridge's port", "wireless news", "nothing", "cut"],
)  # fmt: skip
def test_messages_that_are_no_interface_are_passed_over(odd):
    assert parse_link(odd) is None


@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(raw):
    """Whatever the kernel reports."""
    parse_link(raw)
    list(parse_dev(raw))


def test_the_table_has_the_same_counters():
    """Where rtnetlink is refused; there the name is all that identifies it."""
    lo, other = parse_dev(DEV)
    assert lo == Link("lo", "lo", Counts(101, 101, 0, 0, 0, 0))
    assert other == Link(r"a\xff\xfeb", r"a\xff\xfeb", COUNTS)


class Socket:
    """Stands in for netlink: dumps, then buffers of messages or errors."""

    dumped: ClassVar[list[bytes] | OSError]
    buffers: ClassVar[list[bytes | OSError]]
    closed: ClassVar[int]

    def __init__(self, family):
        assert family == 0

    def join(self, group):
        assert group == 1

    def close(self):
        type(self).closed += 1

    def dump(self, kind, request):
        assert (kind, request) == (18, bytes(16))
        if isinstance(self.dumped, OSError):
            raise self.dumped
        yield from self.dumped

    def receive(self):
        if not self.buffers:
            return None
        found = self.buffers.pop(0)
        if isinstance(found, OSError):
            raise found
        return found


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """A kernel with one interface by netlink, and two in its table."""
    made = type("Made", (Socket,), {"dumped": [message()], "buffers": [], "closed": 0})
    monkeypatch.setattr(links, "NetlinkSocket", made)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/dev").write_bytes(DEV)
    return made


def framed(kind, payload):
    return HEADER.pack(HEADER.size + len(payload), kind, 0, 0, 0) + payload


def test_a_change_is_what_came_and_went(kernel, tmp_path):
    """More than one in a buffer, and what the kernel had no room for is no error."""
    born = framed(NEW, message(b"veth7", 9, stats=(0,) * 24))
    kernel.buffers = [born + framed(GONE, message()), OSError(errno.ENOBUFS, ""), born]
    first, second, third = Links(tmp_path).queue()
    assert first == third == Birth(Link(9, "veth7", Counts(0, 0, 0, 0, 0, 0)))
    assert second == End(Link(7, "eth0", COUNTS))


@pytest.mark.parametrize(
    "dumped", [OSError(errno.EPERM, ""), [message(stats=())]], ids=["refused", "no counters"]
)
def test_where_netlink_does_not_answer_the_table_does(kernel, tmp_path, dumped):
    """Hardened containers refuse it, gVisor leaves the counters out."""
    kernel.dumped = dumped
    found = Links(tmp_path)
    assert [link.key for link in found.read()] == ["lo", r"a\xff\xfeb"]
    assert kernel.closed == 2
    kernel.dumped, kernel.buffers = [message()], [framed(GONE, message())]
    assert [link.key for link in found.read()] == ["lo", r"a\xff\xfeb"]
    assert list(found.queue()) == []


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EMFILE, errno.ENOMEM])
def test_a_shortage_is_no_refusal(kernel, tmp_path, number):
    """The keys of the table are names: none of these would be the interface of before."""
    found = Links(tmp_path)
    kernel.dumped = OSError(number, "")
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        found.read()
    assert kernel.closed == 1  # with the rest of the answer
    kernel.dumped, kernel.buffers = [message()], [framed(GONE, message())]
    assert [link.key for link in found.read()] == [7]
    assert len(list(found.queue())) == 1


def test_an_answer_that_was_cut_short_is_asked_for_again(kernel, tmp_path, monkeypatch):
    """By another socket; a kernel whose answers are all cut is read from its table."""
    found = Links(tmp_path)
    errors, dump = [OSError(errno.EBADMSG, "")], kernel.dump

    def cut(self, *request):
        if errors:
            raise errors.pop()
        return dump(self, *request)

    monkeypatch.setattr(kernel, "dump", cut)
    assert [link.key for link in found.read()] == [7]
    assert kernel.closed == 1
    errors += [OSError(errno.EBADMSG, "")] * 2
    assert [link.key for link in found.read()] == ["lo", r"a\xff\xfeb"]


def test_changes_that_cannot_be_received_leave_the_counters(kernel, tmp_path):
    found = Links(tmp_path)
    born = framed(NEW, message(b"veth7", 9))
    kernel.buffers = [OSError(errno.ENOMEM, ""), born]
    assert list(found.queue()) == []
    assert len(list(found.queue())) == 1
    kernel.buffers = [OSError(errno.EIO, ""), born]
    assert list(found.queue()) == list(found.queue()) == []
    assert [link.key for link in found.read()] == [7]


def test_without_a_descriptor_no_interface_is_gone(kernel, tmp_path, monkeypatch):
    """Neither for the table nor for the socket."""
    kernel.dumped = OSError(errno.EPERM, "")
    found = Links(tmp_path)
    found.read()

    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(links.Path, "read_bytes", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        found.read()
    monkeypatch.setattr(kernel, "join", refuse)
    kernel.closed = 0
    with pytest.raises(OSError, match="Too many open files"):
        Links(tmp_path)
    assert kernel.closed == 2


def test_with_neither_there_is_no_interface(kernel, tmp_path):
    """No /proc: nothing is reported, and nothing fails."""
    kernel.dumped = OSError(errno.EPERM, "")
    assert Links(tmp_path / "nowhere").read() == []
