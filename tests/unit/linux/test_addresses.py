"""Addresses as text, and the interface that they name."""

from __future__ import annotations

import errno
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.linux import addresses
from xctl_probe.linux.addresses import InterfaceByAddress, address_text, endpoint_text

V4, V6 = socket.AF_INET, socket.AF_INET6


@given(st.binary(min_size=16, max_size=16))
def test_every_ipv6_address_is_the_one_it_is(raw):
    """Text and bytes mean the same, and a mapped address is written as IPv4."""
    expected = ipaddress.IPv6Address(raw)
    found = ipaddress.ip_address(address_text(V6, raw))
    assert found == (expected.ipv4_mapped or expected)


@given(st.binary(min_size=4, max_size=4))
def test_every_ipv4_address_is_the_one_it_is(raw):
    """With the padding of the kernel's 16 bytes, without it, and mapped into IPv6."""
    text = str(ipaddress.IPv4Address(raw))
    assert address_text(V4, raw) == text
    assert address_text(V4, raw.ljust(16, b"\0")) == text
    assert address_text(V6, bytes(10) + b"\xff\xff" + raw) == text


@pytest.mark.parametrize(
    ("address", "text"),
    [("10.0.0.7", "10.0.0.7:5437"), ("fe80::b", "[fe80::b]:5437"), ("::", "[::]:5437")],
)
def test_an_endpoint_is_written_so_that_its_port_is_found(address, text):
    """IPv6 addresses stand in brackets."""
    assert endpoint_text(address, 5_437) == text


class Host:
    """Stands in for the kernel's routing: remote addresses and the device each is sent by."""

    def __init__(self):
        self.sent_by = {"10.0.0.11": 2, "10.0.0.7": 1, "fe80::b": 2, "192.0.2.9": 0}
        self.asked = []
        self.is_new = False

    def interface(self, local, remote, bound_ifindex):
        self.asked.append((local, remote, bound_ifindex))
        if remote not in self.sent_by:
            raise OSError(errno.ENETUNREACH, "")
        return self.sent_by[remote]

    def changed(self):
        is_new, self.is_new = self.is_new, False
        return is_new


@pytest.fixture
def host(monkeypatch):
    """A host whose routes a test may change."""
    names = {1: "lo", 2: "eth0", 3: "wg0"}
    monkeypatch.setattr(addresses, "name_of", names.get)
    return Host()


@pytest.mark.parametrize(
    ("local", "remote", "bound", "interface"),
    [
        ("10.0.0.7", "10.0.0.11", 0, "eth0"),
        ("10.99.0.1", "10.0.0.11", 0, "eth0"),
        ("fe80::7", "fe80::b", 2, "eth0"),
        ("10.0.0.7", "10.0.0.7", 3, "lo"),
        ("127.0.0.53", "127.9.9.9", 0, "lo"),
        ("::1", "::1", 0, "lo"),
        ("10.0.0.7", "203.0.113.1", 0, None),
        ("10.0.0.7", "203.0.113.1", 3, "wg0"),
        ("10.0.0.7", "203.0.113.1", 11, None),
        ("10.0.0.7", "192.0.2.9", 0, None),
        ("10.0.0.7", "0.0.0.0", 0, None),
        ("::", "::", 3, "wg0"),
    ],
)
def test_the_route_names_the_interface(host, local, remote, bound, interface):
    """Whatever holds the local address; without a route, only what it is bound to is sure."""
    assert InterfaceByAddress(host).of(local, remote, bound) == interface


def test_a_route_is_asked_for_once_until_something_changes(host):
    """Asking costs a system call; DHCP, VPNs and links that fail change the answer."""
    found = InterfaceByAddress(host)
    assert [found.of("10.0.0.7", "10.0.0.11") for _ in range(3)] == ["eth0"] * 3
    assert host.asked == [("10.0.0.7", "10.0.0.11", 0)]
    host.sent_by["10.0.0.11"] = 3
    assert not found.refresh()
    assert found.of("10.0.0.7", "10.0.0.11") == "eth0"
    host.is_new = True
    assert found.refresh()
    assert found.of("10.0.0.7", "10.0.0.11") == "wg0"


def test_what_is_remembered_has_a_bound(host, monkeypatch):
    """The oldest goes: whoever connects from many addresses must not fill our memory."""
    monkeypatch.setattr(addresses, "_MOST_KNOWN", 2)
    found = InterfaceByAddress(host)
    for remote in ("10.0.0.11", "10.0.0.7", "fe80::b", "10.0.0.7", "10.0.0.11"):
        found.of("10.0.0.7", remote)
    assert [remote for _, remote, _ in host.asked] == [
        "10.0.0.11", "10.0.0.7", "fe80::b", "10.0.0.11"
    ]  # fmt: skip
