"""Peers whose reply waits the user excludes (`--ignore-reply-wait`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

_LARGEST_PORT = 65_535
_LONGEST_PORT = 5  # digits


@dataclass(frozen=True, slots=True)
class IgnoredPeers:
    """Ignored peers as (address, port); without a port, all of that address."""

    peers: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> IgnoredPeers:
        """Parse texts like `10.0.0.7`, `10.0.0.7:6379`, `[fd00::7]:80`; ValueError for others."""
        return cls(frozenset(map(_parsed, texts)))

    def matches(self, address: str, port: int) -> bool:
        """True when reply waits for this peer are never reported."""
        return (address, None) in self.peers or (address, port) in self.peers


def _parsed(text: str) -> tuple[str, int | None]:
    address, port = text, ""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(text)
        port = rest
    elif text.count(":") == 1:
        address, colon, number = text.partition(":")
        port = colon + number
    if not port:
        return _address(address), None
    digits = port[1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_PORT):
        raise ValueError(text)
    if not 1 <= int(digits) <= _LARGEST_PORT:
        raise ValueError(text)
    return _address(address), int(digits)


def _address(text: str) -> str:
    # The form of the records: compressed, and a v4-mapped address as IPv4.
    found = ipaddress.ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
