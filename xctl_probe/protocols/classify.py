"""Classifiers: one small function for each protocol, with the place in its specification.

Each takes the first bytes of a message (32; of a ClientHello and of HTTP/2 up to 512) and the
length of what came with them.  Bytes alone prove nothing, so a classifier is `SURE` where they
follow a format that random bytes or other protocols do not.  Else the other direction has to agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import NamedTuple

from xctl_probe.protocols import tls


class Certainty(Enum):
    """How far the bytes of one direction decide."""

    SURE = auto()
    ASKS = auto()  # likely, of the side that asks or has connected
    ANSWERS = auto()  # likely, of the other side
    LIKELY = auto()  # of either


class Guess(NamedTuple):
    """What one message seems to be of."""

    app: str
    certainty: Certainty


Classifier = Callable[[bytes, int], Certainty | None]

_SURE, _LIKELY = Certainty.SURE, Certainty.LIKELY
_ASKS, _ANSWERS = Certainty.ASKS, Certainty.ANSWERS


def _tls(payload: bytes, length: int) -> Certainty | None:
    if tls.is_client_hello(payload) or tls.is_server_hello(payload):
        return _SURE
    return _LIKELY if tls.is_record(payload, length) else None


_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HTTP2_SETTINGS = 4


def _http2(payload: bytes, length: int) -> Certainty | None:
    """RFC 9113: 3.4 the preface of the client; 4.1 and 6.5 the SETTINGS of the server."""
    if payload.startswith(_HTTP2_PREFACE):
        return _SURE
    size = int.from_bytes(payload[:3])
    settings = payload[3:9] == bytes((_HTTP2_SETTINGS, 0, 0, 0, 0, 0))
    return _ANSWERS if settings and size % 6 == 0 and size + 9 <= length else None


_HTTP1_REQUEST = re.compile(
    rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE) (?:/|\*| https?://)|CONNECT [\w.\[-]"
)
_HTTP1_STATUS = re.compile(rb"HTTP/1\.[01] [1-5]\d\d[ \r]")


def _http1(payload: bytes, _: int) -> Certainty | None:
    """RFC 9112: 3 the request line, 4 the status line."""
    if _HTTP1_STATUS.match(payload):
        return _SURE
    request = _HTTP1_REQUEST.match(payload)
    return _SURE if request and _is_text(payload) else None


_SSH = re.compile(rb"SSH-(?:2\.0|1\.99)-[!-~]")


def _ssh(payload: bytes, _: int) -> Certainty | None:
    """RFC 4253, 4.2 and 5.1: the identification string of either side."""
    return _SURE if _SSH.match(payload) else None


_DNS_HEADER_BYTES = 12
_DNS_LABEL = re.compile(rb"[A-Za-z0-9_-]*")
_DNS_MOST_RECORDS = 64


def _dns(payload: bytes, length: int) -> Certainty | None:
    """RFC 1035: 4.1.1 the header, 4.1.2 the question, 4.2.2 the length before them by TCP."""
    if int.from_bytes(payload[:2]) == length - 2:
        payload, length = payload[2:], length - 2
    if length < _DNS_HEADER_BYTES + 5 or len(payload) < _DNS_HEADER_BYTES + 3:
        return None
    flags = int.from_bytes(payload[2:4])
    questions, answers, authorities, more = (
        int.from_bytes(payload[at : at + 2]) for at in (4, 6, 8, 10)
    )
    is_reply, opcode, zero, code = flags >> 15, flags >> 11 & 15, flags >> 6 & 1, flags & 15
    if opcode or zero or questions != 1 or max(answers, authorities, more) > _DNS_MOST_RECORDS:
        return None
    if not is_reply and (answers or authorities or code):
        return None
    return _SURE if _is_dns_name(payload[_DNS_HEADER_BYTES:]) else None


def _is_dns_name(name: bytes) -> bool:
    """True where this begins with labels, of which the last may be cut off."""
    at = 0
    while at < len(name) and name[at]:
        size = name[at]
        label = name[at + 1 : at + 1 + size]
        if size > 63 or not _DNS_LABEL.fullmatch(label):
            return False
        at += 1 + size
    return at > 0 or name[1:2] == b"\0"  # the root, and a type below 256


_REDIS_COMMAND = re.compile(rb"\*[1-9]\d{0,5}\r\n\$[1-9]\d{0,3}\r\n[A-Za-z.]")
_REDIS_INLINE = re.compile(rb"(?:PING|INFO|SELECT \d+|(?:AUTH|GET|SET|INCR) [!-~ ]+)\r\n")
_REDIS_REPLY = re.compile(
    rb"\+(?:OK|PONG|QUEUED)\r\n|-[A-Z]{2,} |[:*%~>]-?\d{1,19}\r\n|\$(?:-1|\d{1,9})\r\n|_\r\n"
)


def _redis(payload: bytes, _: int) -> Certainty | None:
    """RESP (redis.io/docs/reference/protocol-spec): arrays of bulk strings, inline, replies."""
    if _REDIS_COMMAND.match(payload):
        return _SURE
    if _REDIS_INLINE.match(payload):
        return _ASKS
    return _ANSWERS if _REDIS_REPLY.match(payload) else None


_MYSQL_VERSION = re.compile(rb"\d{1,2}\.\d{1,3}\.\d{1,3}[-.\w+~]{0,20}")


def _mysql(payload: bytes, length: int) -> Certainty | None:
    """MySQL internals, Protocol::HandshakeV10, and commands (COM_QUERY) and their replies."""
    size = int.from_bytes(payload[:3], "little")
    if len(payload) < 5 or size + 4 > length:
        return None
    if payload[3:5] == b"\0\x0a" and _MYSQL_VERSION.match(payload, 5):
        return _SURE
    whole = size + 4 == length
    if payload[3] == 0:
        return _ASKS if whole and 1 <= payload[4] <= 0x1F else None
    columns = size == 1 and payload[8:9] == b"\2"  # their number, then the first of them
    ended = whole and size >= 7 and payload[4] in (0, 0xFF)  # OK, ERR
    return _ANSWERS if payload[3] == 1 and (columns or ended) else None


_POSTGRESQL_CODES = {196608, 80877102, 80877103, 80877104}  # 3.0; cancel, SSL, GSSAPI requests
_POSTGRESQL_LATER = {196610}  # 3.2
_POSTGRESQL_REQUESTS = b"QPBECDSFHXpdcf"
_POSTGRESQL_REPLIES = b"TDCZESNRK123AGHWVtnsIdc"


def _postgresql(payload: bytes, length: int) -> Certainty | None:
    """PostgreSQL, Message Formats: StartupMessage and its kin; messages of a type and a length."""
    if len(payload) < 5:
        return None
    if int.from_bytes(payload[:4]) == length and len(payload) >= 8:
        code = int.from_bytes(payload[4:8])
        return _SURE if code in _POSTGRESQL_CODES | _POSTGRESQL_LATER else None
    if not 4 <= int.from_bytes(payload[1:5]) < length:
        return None
    asks, answers = payload[0] in _POSTGRESQL_REQUESTS, payload[0] in _POSTGRESQL_REPLIES
    if asks and answers:
        return _LIKELY
    return _ASKS if asks else _ANSWERS if answers else None


_MONGODB_CODES = {1, 2004, 2012, 2013}  # OP_REPLY, OP_QUERY, OP_COMPRESSED, OP_MSG
_MONGODB_MOST_BYTES = 48_000_000


def _mongodb(payload: bytes, length: int) -> Certainty | None:
    """MongoDB Wire Protocol, Standard Message Header."""
    if len(payload) < 20:
        return None
    size, number, answers, code = (
        int.from_bytes(payload[at : at + 4], "little", signed=True) for at in (0, 4, 8, 12)
    )
    fits = size == length or length < size <= _MONGODB_MOST_BYTES
    if not fits or code not in _MONGODB_CODES or size < 21:
        return None
    if code == 1 or answers:
        return _ANSWERS
    if code == 2012:  # 32 bytes do not show what is compressed
        return _LIKELY
    return _SURE if number >= 0 else None


_KAFKA_MOST_KEY, _KAFKA_MOST_VERSION = 100, 25
_KAFKA_CLIENT = re.compile(rb"[ -~]*")


def _kafka(payload: bytes, length: int) -> Certainty | None:
    """Kafka protocol guide, Request Header v1: size, api key, version, correlation id, client;

    Response Header v0: size, correlation id.
    """
    if len(payload) < 8 or int.from_bytes(payload[:4]) != length - 4:
        return None
    key, version, client = (int.from_bytes(payload[at : at + 2], signed=True) for at in (4, 6, 12))
    if len(payload) >= 14 and 0 <= key <= _KAFKA_MOST_KEY and 0 <= version <= _KAFKA_MOST_VERSION:
        name = payload[14 : 14 + client] if client > 0 else b""
        if -1 <= client <= length - 14 and _KAFKA_CLIENT.fullmatch(name):
            return _SURE if client > 0 else _LIKELY
    return _ANSWERS if payload[4] < 0x80 else None


def _mqtt(payload: bytes, _: int) -> Certainty | None:
    """MQTT 5.0, 2.1.4 and 3.1: CONNECT with the name and level of the protocol; 3.2: CONNACK."""
    if payload[:2] in (b"\x20\x02", b"\x20\x03") or payload[:1] == b"\x20":
        return _ANSWERS if payload[2:3] in (b"\0", b"\1") and len(payload) >= 4 else None
    if payload[:1] != b"\x10":
        return None
    at = 1
    while at < min(len(payload), 5) and payload[at] & 0x80:  # the remaining length
        at += 1
    rest = payload[at + 1 :]
    known = rest[:6] == b"\0\4MQTT" and rest[6:7] in (b"\4", b"\5")
    return _SURE if known or rest[:9] == b"\0\6MQIsdp\3" else None


def _amqp(payload: bytes, _: int) -> Certainty | None:
    """AMQP 0-9-1, 4.2.2 and 1.0, 2.2: the protocol header, of 1.0 also of TLS and SASL."""
    return _SURE if payload[:4] == b"AMQP" and payload[4:8] in _AMQP_HEADERS else None


_AMQP_HEADERS = {b"\0\0\x09\1", b"\1\1\0\x09", b"\1\1\x08\0", b"\0\1\0\0", b"\2\1\0\0", b"\3\1\0\0"}
_NCCL_MAGIC = (0x564AB9F2FC4B9D6C).to_bytes(8, "little")


def _nccl(payload: bytes, _: int) -> Certainty | None:
    """NCCL, src/include/socket.h: NCCL_SOCKET_MAGIC, which the side that connects sends first."""
    return _SURE if payload.startswith(_NCCL_MAGIC) else None


_GLOO_PREAMBLE_BYTES = 48
_GLOO_OPCODES = 4


def _gloo(payload: bytes, length: int) -> Certainty | None:
    """Gloo, transport/tcp: the number of a pair, alone; and `Op::preamble` (pair.h)."""
    number = int.from_bytes(payload[:8], "little")
    if length == 8:
        return _ASKS if number < 1 << 24 else None
    if length < _GLOO_PREAMBLE_BYTES or len(payload) < 16:
        return None
    operation = int.from_bytes(payload[8:16], "little")
    return (
        _LIKELY if _GLOO_PREAMBLE_BYTES <= number < 1 << 40 and operation < _GLOO_OPCODES else None
    )


CLASSIFIERS: dict[str, Classifier] = {
    "tls": _tls,
    "http1": _http1,
    "http2": _http2,
    "ssh": _ssh,
    "dns": _dns,
    "redis": _redis,
    "mysql": _mysql,
    "postgresql": _postgresql,
    "mongodb": _mongodb,
    "kafka": _kafka,
    "mqtt": _mqtt,
    "amqp": _amqp,
    "nccl": _nccl,
    "gloo": _gloo,
}
GRPC = "grpc"  # HTTP/2 with such a content type: see is_grpc()
NAMES = (*CLASSIFIERS, GRPC)

# "application/grpc" as a header value, plain or by the Huffman code of HPACK (RFC 7541, B).
_GRPC_TYPES = (b"application/grpc", bytes.fromhex("1d75d0620d263d4c4d6564"))


def is_grpc(payload: bytes) -> bool:
    """True where HTTP/2 headers are of gRPC ("gRPC over HTTP2": Content-Type)."""
    return any(one in payload for one in _GRPC_TYPES)


def classify(payload: bytes, length: int) -> list[Guess]:
    """Return what the beginning of a message of `length` bytes may be of: one guess that is sure,

    or all that are likely.
    """
    likely = []
    for app, classifier in CLASSIFIERS.items():
        certainty = classifier(payload, length)
        if certainty is _SURE:
            return [Guess(app, _SURE)]
        if certainty is not None:
            likely.append(Guess(app, certainty))
    return likely


def in_common(here: Iterable[Guess], there: Iterable[Guess]) -> str | None:
    """Return the one protocol that messages of both directions may be of: one asks, one answers."""
    both = {
        one.app
        for one in here
        for other in there
        if one.app == other.app
        and not (one.certainty is other.certainty and one.certainty in (_ASKS, _ANSWERS))
    }
    return both.pop() if len(both) == 1 else None


def _is_text(payload: bytes) -> bool:
    return payload.isascii() and all(byte >= 0x20 or byte in b"\r\n\t" for byte in payload)
