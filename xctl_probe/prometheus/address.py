"""The address to serve at: `9599`, `10.0.0.7:9599` or `[fd00::7]:9599`."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
_FORM = re.compile(r"(?:(?:\[([^\[\]]+)\]|([^\[\]:]+)):)?([0-9]{1,5})")
_LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A numeric address and a port; port 0 stands for any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def family_and_name(self) -> tuple[socket.AddressFamily, tuple[object, ...]]:
        """Return the address family and the name for bind(2).  Raises OSError."""
        flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
        (first, *_) = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        return first[0], tuple(first[4])


def parse(text: str) -> Address:
    """Return the address; without one it is that of loopback.  Raises ValueError."""
    found = _FORM.fullmatch(text)
    if found is None or int(found[3]) > _LARGEST_PORT:
        raise ValueError(text)
    ipv6, ipv4, port = found.groups()
    if ipv6 is not None and ":" not in ipv6:
        raise ValueError(text)
    address = Address(ipv6 or ipv4 or LOOPBACK, int(port))
    try:
        address.family_and_name()
    except (OSError, UnicodeError):
        raise ValueError(text) from None
    return address
