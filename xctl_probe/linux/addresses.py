"""Text of addresses, and the interface of a connection."""

from __future__ import annotations

import socket
from functools import lru_cache

from xctl_probe.linux.links import name_of
from xctl_probe.linux.routes import Routes

_V4_MAPPED = b"\0" * 10 + b"\xff\xff"
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - the remote end of a listener
_MOST_KNOWN = 8192  # 2 MiB


@lru_cache(maxsize=8192)
def address_text(family: int, raw: bytes) -> str:
    """Return the text of an address of 16 bytes; a v4-mapped IPv6 address becomes IPv4."""
    if family == socket.AF_INET6 and raw[:12] != _V4_MAPPED:
        return socket.inet_ntop(socket.AF_INET6, raw[:16])
    return socket.inet_ntop(socket.AF_INET, raw[12:16] if family == socket.AF_INET6 else raw[:4])


def endpoint_text(address: str, port: int) -> str:
    """Return `10.0.0.7:5432` or `[fe80::1]:22`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class InterfaceByAddress:
    """Interface of a connection, which the kernel's routing selects by both addresses.

    It may differ from the interface with the local address: service addresses are assigned to `lo`,
    and packets to an address of this host go through `lo`.  NAT of this host is not visible in
    either address.
    """

    def __init__(self, routes: Routes | None = None) -> None:
        self._routes = routes or Routes()
        self._known: dict[tuple[str, str, int], str | None] = {}

    def refresh(self) -> bool:
        """Clear the cache where routes or interfaces have changed; return whether they have."""
        changed = self._routes.changed()
        if changed:
            self._known.clear()
        return changed

    def of(self, local: str, remote: str, bound_ifindex: int = 0) -> str | None:
        """Return the name of the interface, None without a route or without a remote address."""
        key = (local, remote, bound_ifindex)
        try:
            return self._known[key]
        except KeyError:
            pass
        if len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        found = self._known[key] = self._find(local, remote, bound_ifindex)
        return found

    def _find(self, local: str, remote: str, bound_ifindex: int) -> str | None:
        if remote in _UNSPECIFIED:
            return name_of(bound_ifindex) if bound_ifindex else None
        if _is_loopback(remote):
            return "lo"
        try:
            ifindex = self._routes.interface(local, remote, bound_ifindex)
        except OSError:  # no route, or rtnetlink is refused: only a bound interface is certain
            ifindex = bound_ifindex
        return name_of(ifindex) if ifindex else None


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
