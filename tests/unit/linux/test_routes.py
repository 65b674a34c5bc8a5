"""Routes are asked for as the kernel wants it, and its answers are read whatever they are."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.linux import routes
from xctl_probe.linux.routes import Routes, route_answer, route_request


def answer(kind=1, *attributes):
    parts = [struct.pack("=8BI", 2, 32, 0, 0, 254, 0, 0, kind, 0)]
    parts += [struct.pack("=HHI", 8, name, value) for name, value in attributes]
    return b"".join(parts)


def test_a_request_is_laid_out_as_the_kernel_wants_it():
    """struct rtmsg, destination, source, and the device of a socket that is bound to one."""
    assert route_request("10.0.0.7", "10.0.0.11", 0) == (
        bytes([2, 32, 32, 0, 0, 0, 0, 0]) + bytes(4)
        + struct.pack("=HH", 8, 1) + bytes([10, 0, 0, 11])
        + struct.pack("=HH", 8, 2) + bytes([10, 0, 0, 7])
    )  # fmt: skip
    bound = route_request("fd00::7", "fd00::b", 7)
    assert bound[:3] == bytes([10, 128, 128])
    assert bound.endswith(struct.pack("=HHI", 8, 4, 7))


def test_addresses_of_two_families_are_no_request():
    """The caller takes it for no route."""
    with pytest.raises(OSError, match="illegal"):
        route_request("fd00::7", "10.0.0.11", 0)


@pytest.mark.parametrize(
    ("message", "ifindex"),
    [
        (answer(1, (1, 99), (4, 7)), 7),
        (answer(2, (4, 1)), 1),
        (answer(7, (4, 1)), 0),
        (answer(1, (9, 7)), 0),
        (b"", 0),
    ],
    ids=["unicast", "local", "unreachable", "no device", "nothing"],
)
def test_an_answer_has_the_device_of_a_route_that_leads_somewhere(message, ifindex):
    """IPv6 answers with an unreachable route where there is none."""
    assert route_answer(message) == ifindex


@given(st.binary(max_size=100))
def test_no_bytes_are_an_error(raw):
    assert route_answer(raw) >= 0


class Refused:
    """A netlink that gives out this many sockets."""

    def __init__(self, error, left=0):
        self.error, self.left = error, left

    def __call__(self, _family):
        if not self.left:
            raise self.error
        self.left -= 1
        return self

    def close(self):
        pass


@pytest.mark.parametrize("left", [0, 1])
def test_without_netlink_nothing_is_known_and_nothing_changes(monkeypatch, left):
    """Refused at once, or no descriptor left for the second socket."""
    monkeypatch.setattr(routes, "NetlinkSocket", Refused(PermissionError(errno.EPERM, ""), left))
    found = Routes()
    assert not found.changed()
    with pytest.raises(PermissionError):
        found.interface("10.0.0.7", "10.0.0.11")


def test_a_change_is_seen_and_so_is_more_than_fits(monkeypatch):
    """Once: the next call begins anew."""
    buffers = []

    class Messages:
        def __init__(self, family):
            pass

        def join(self, group):
            pass

        def receive(self):
            found = buffers.pop(0) if buffers else None
            if isinstance(found, OSError):
                raise found
            return found

    monkeypatch.setattr(routes, "NetlinkSocket", Messages)
    found = Routes()
    assert not found.changed()
    for queue in (b"a route", OSError(errno.ENOBUFS, "")):
        buffers[:] = [queue]
        assert found.changed()
        assert not found.changed()
