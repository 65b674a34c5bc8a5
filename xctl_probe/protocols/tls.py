"""The names in a ClientHello: RFC 8446, 4.1.2; RFC 6066, 3 (SNI); RFC 7301, 3.1 (ALPN)."""

from __future__ import annotations

import re
from typing import NamedTuple

_HANDSHAKE, _ALERT, _DATA = 22, 21, 23  # ContentType, RFC 8446, 5.1
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_MOST_RECORD_BYTES = (1 << 14) + 256
_SERVER_NAME, _ALPN = 0, 16
_FIXED_BYTES = 4 + 2 + 32  # type and length, version, random
_RECORD_HEADER_BYTES = 5
_MOST_PROTOCOLS = 8
# What a DNS name may have (and `_`, which some do); bounded as there.
_HOST_NAME = re.compile(rb"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_PROTOCOL_NAME = re.compile(rb"[!-~]{1,32}")


class Hello(NamedTuple):
    """The server that a client asks for, and the protocols that it offers for the time after."""

    sni: str | None = None
    alpn: tuple[str, ...] = ()


def is_client_hello(payload: bytes) -> bool:
    """True for the beginning of a stream whose first record has a ClientHello."""
    return _is_hello(payload, _CLIENT_HELLO)


def is_server_hello(payload: bytes) -> bool:
    """True for the beginning of the answer."""
    return _is_hello(payload, _SERVER_HELLO)


def is_record(payload: bytes, length: int) -> bool:
    """True for application data or an alert that may begin `length` bytes."""
    if len(payload) < _RECORD_HEADER_BYTES or payload[1:3] != b"\x03\x03":
        return False
    size = int.from_bytes(payload[3:5])
    if payload[0] == _ALERT:
        return size + _RECORD_HEADER_BYTES == length
    return payload[0] == _DATA and 17 <= size <= _MOST_RECORD_BYTES


def _is_hello(payload: bytes, kind: int) -> bool:
    if len(payload) < _RECORD_HEADER_BYTES + 6:
        return False
    size = int.from_bytes(payload[3:5])
    message = int.from_bytes(payload[6:9])
    return (
        payload[0] == _HANDSHAKE
        and payload[1] == 3
        and payload[2] <= 4
        and _FIXED_BYTES <= size <= _MOST_RECORD_BYTES
        and payload[5] == kind
        and _FIXED_BYTES - 4 <= message < 1 << 16
        and payload[9] == 3
        and payload[10] <= 3
    )


def read_hello(payload: bytes) -> Hello:
    """Return the names of a ClientHello, of which the end may be missing."""
    hello = Hello()
    try:
        at = _RECORD_HEADER_BYTES + _FIXED_BYTES
        at += 1 + payload[at]  # session id
        at += 2 + int.from_bytes(payload[at : at + 2])  # cipher suites
        at += 1 + payload[at]  # compression
        at += 2  # length of the extensions
        while at + 4 <= len(payload):
            kind, size = (
                int.from_bytes(payload[at : at + 2]),
                int.from_bytes(payload[at + 2 : at + 4]),
            )
            body = payload[at + 4 : at + 4 + size]
            if kind == _SERVER_NAME:
                hello = hello._replace(sni=_server_name(body))
            elif kind == _ALPN:
                hello = hello._replace(alpn=_protocols(body))
            at += 4 + size
    except IndexError:
        pass
    return hello


def _server_name(body: bytes) -> str | None:
    """Return the name of the first entry, None where it is no host name or is cut off."""
    size = int.from_bytes(body[3:5])
    name = body[5 : 5 + size]
    if len(body) < 6 or body[2] != 0 or len(name) < size or not _HOST_NAME.fullmatch(name):
        return None
    return name.decode("ascii").lower()


def _protocols(body: bytes) -> tuple[str, ...]:
    found: list[str] = []
    at = 2
    while at < len(body) and len(found) < _MOST_PROTOCOLS:
        name = body[at + 1 : at + 1 + body[at]]
        if len(name) < body[at] or not _PROTOCOL_NAME.fullmatch(name):
            break  # cut off, or GREASE (RFC 8701)
        found.append(name.decode("ascii"))
        at += 1 + body[at]
    return tuple(found)
