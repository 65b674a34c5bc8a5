"""Addresses as people write them, and which interface one belongs to."""

from __future__ import annotations

import socket
from functools import lru_cache

import psutil

_V4_MAPPED = b"\0" * 10 + b"\xff\xff"


@lru_cache(maxsize=8192)
def address_text(family: int, raw: bytes) -> str:
    """16 bytes of network order to text; a v4-mapped IPv6 address becomes the IPv4 one."""
    if family == socket.AF_INET6 and raw[:12] != _V4_MAPPED:
        return socket.inet_ntop(socket.AF_INET6, raw[:16])
    return socket.inet_ntop(socket.AF_INET, raw[12:16] if family == socket.AF_INET6 else raw[:4])


def endpoint_text(address: str, port: int) -> str:
    """`10.0.0.7:5432`, `[fe80::1]:22`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class InterfaceByAddress:
    """Which interface a socket's packets take, judged by its two addresses.

    A packet to one of the host's own addresses goes through the loopback device, whatever
    interface holds the address.  A local address names its interface; routing that sends
    from one interface with another's address is not seen.
    """

    def __init__(self) -> None:
        self._interface: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the host's addresses again (they change with DHCP, VPNs, containers)."""
        try:
            found = psutil.net_if_addrs()
        except OSError:
            return  # where netlink is refused: getifaddrs(3) asks by it
        self._interface = {
            address.address.partition("%")[0]: name
            for name, addresses in found.items()
            for address in addresses
            if address.family in (socket.AF_INET, socket.AF_INET6)
        }

    def of(self, local: str, remote: str, bound_ifindex: int = 0) -> str | None:
        """The interface's name, None when neither address is the host's."""
        if _is_loopback(remote) or remote in self._interface:
            return "lo"
        if bound_ifindex:
            try:
                return socket.if_indextoname(bound_ifindex)
            except OSError:
                return None  # it is gone, its sockets not yet
        return self._interface.get(local)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
