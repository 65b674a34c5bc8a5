"""Addresses as text, and the interface that they name."""

from __future__ import annotations

import ipaddress
import socket
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe import addresses
from xctl_probe.addresses import InterfaceByAddress, address_text, endpoint_text

V4, V6 = socket.AF_INET, socket.AF_INET6
Address = namedtuple("Address", "family address")


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


@pytest.fixture
def host(monkeypatch):
    """A host whose interfaces a test may change."""
    interfaces = {
        "lo": [Address(V4, "127.0.0.1"), Address(V6, "::1")],
        "eth0": [
            Address(V4, "10.0.0.7"),
            Address(V6, "fe80::7%eth0"),
            Address(17, "02:00:00:00:00:07"),
        ],
        "wg0": [Address(V4, "10.9.0.7")],
    }
    monkeypatch.setattr(addresses.psutil, "net_if_addrs", lambda: interfaces)
    return interfaces


@pytest.mark.parametrize(
    ("local", "remote", "interface"),
    [
        ("10.0.0.7", "10.0.0.11", "eth0"),
        ("10.9.0.7", "10.0.0.11", "wg0"),
        ("fe80::7", "fe80::b", "eth0"),
        ("127.0.0.1", "127.0.0.1", "lo"),
        ("127.0.0.53", "127.9.9.9", "lo"),
        ("::1", "::1", "lo"),
        ("10.0.0.7", "10.0.0.7", "lo"),
        ("10.0.0.7", "10.9.0.7", "lo"),
        ("192.0.2.1", "10.0.0.11", None),
        ("0.0.0.0", "0.0.0.0", None),
        ("02:00:00:00:00:07", "10.0.0.11", None),
    ],
)
def test_the_local_address_names_the_interface(host, local, remote, interface):
    """Traffic to one of the host's own addresses is loopback, whoever holds the address."""
    assert InterfaceByAddress().of(local, remote) == interface


def test_a_bound_device_outweighs_the_address(host, monkeypatch):
    """SO_BINDTODEVICE decides; a device that is gone is unknown, not another one."""
    names = {7: "wg0"}

    def name(index):
        if index not in names:
            raise OSError
        return names[index]

    monkeypatch.setattr(addresses.socket, "if_indextoname", name)
    found = InterfaceByAddress()
    assert found.of("10.0.0.7", "10.0.0.11", 7) == "wg0"
    assert found.of("10.0.0.7", "10.0.0.11", 11) is None
    assert found.of("10.0.0.7", "10.9.0.7", 7) == "lo"


def test_new_addresses_are_known_after_a_refresh(host):
    """DHCP and VPNs change them."""
    found = InterfaceByAddress()
    host["eth0"] = [Address(V4, "10.0.0.13")]
    assert found.of("10.0.0.13", "10.0.0.11") is None
    found.refresh()
    assert found.of("10.0.0.13", "10.0.0.11") == "eth0"
    assert found.of("10.0.0.7", "10.0.0.11") is None


def test_without_netlink_no_address_is_known_and_that_is_no_error(monkeypatch):
    """Hardened containers refuse it, and getifaddrs(3) asks by it."""

    def refuse():
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(addresses.psutil, "net_if_addrs", refuse)
    interfaces = InterfaceByAddress()
    assert interfaces.of("10.0.0.7", "10.0.0.11") is None
    assert interfaces.of("127.0.0.1", "127.0.0.1") == "lo"
