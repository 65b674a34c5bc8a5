"""What the first bytes of a message stand for; messages as real programs send them."""

from __future__ import annotations

import random
import struct

import pytest

from xctl_probe.protocols.classify import (
    CLASSIFIERS,
    Certainty,
    Guess,
    classify,
    in_common,
    is_grpc,
)

SURE, LIKELY = Certainty.SURE, Certainty.LIKELY
ASKS, ANSWERS = Certainty.ASKS, Certainty.ANSWERS
ROUNDS = 1_000
HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(21))
DNS_QUERY = b"\x124\x01\0\0\1\0\0\0\0\0\0\3lab\7example\0\0\1\0\1"
MONGODB_HELLO = struct.pack("<iiii", 131, 1, 0, 2013) + b"\0\0\0\0\0n\0\0\0\x10hello\0"
KAFKA_VERSIONS = struct.pack("!ihhih", 32, 18, 3, 1, 14) + b"kafka-producer"
POSTGRESQL_START = struct.pack("!ii", 84, 196608) + b"user\0test\0database"
MYSQL_GREETING = b"Y\0\0\0\n5.5.5-10.11.6-MariaDB-0+deb12"


@pytest.mark.parametrize(
    ("app", "payload", "length"),
    [
        ("tls", HELLO, 517),
        ("tls", bytes.fromhex("160303007a02000076030335") + bytes(20), 127),
        ("http1", b"GET /index.html HTTP/1.1\r\nHost: ", 78),
        ("http1", b"CONNECT example.org:443 HTTP/1.1", 70),
        ("http1", b"HTTP/1.1 200 OK\r\n\r\n", 19),
        ("http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0", 64),
        ("ssh", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", 32),
        ("dns", DNS_QUERY, len(DNS_QUERY)),
        ("dns", DNS_QUERY[:2] + b"\x81\x80" + DNS_QUERY[4:], 45),
        ("dns", struct.pack("!H", len(DNS_QUERY)) + DNS_QUERY, len(DNS_QUERY) + 2),
        ("redis", b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", 21),
        ("mysql", MYSQL_GREETING, 93),
        ("postgresql", POSTGRESQL_START, 84),
        ("postgresql", struct.pack("!ii", 8, 80877103), 8),
        ("mongodb", MONGODB_HELLO, 131),
        ("kafka", KAFKA_VERSIONS[:32], 36),
        ("kafka", bytes.fromhex("00000024001200030000000100077264") + b"kafka\0\x0blibrdkafk", 40),
        ("mqtt", b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a", 15),
        ("amqp", b"AMQP\0\0\x09\1", 8),
        ("amqp", b"AMQP\3\1\0\0", 8),
        ("nccl", struct.pack("<QI", 0x564AB9F2FC4B9D6C, 3), 12),
    ],
)
def test_the_beginning_of_a_stream_names_its_protocol(app, payload, length):
    assert classify(payload, length) == [Guess(app, SURE)]


@pytest.mark.parametrize(
    ("app", "certainty", "payload", "length"),
    [
        ("tls", LIKELY, b"\x17\3\3\1\0" + bytes(27), 261),
        ("tls", LIKELY, b"\x15\3\3\0\x1a" + bytes(26), 31),
        ("http2", ANSWERS, b"\0\0\x12\4\0\0\0\0\0" + bytes(18), 27),
        ("redis", ANSWERS, b"+PONG\r\n", 7),
        ("redis", ASKS, b"PING\r\n", 6),
        ("mysql", ASKS, b"\x09\0\0\0\3select 1", 13),
        ("mysql", ANSWERS, b"\1\0\0\1\1\x17\0\0\2\3def", 55),
        ("mysql", ANSWERS, b"\7\0\0\1\0\0\0\2\0\0\0", 11),
        ("postgresql", ASKS, b"Q\0\0\0\x0dselect 1\0", 14),
        ("postgresql", ANSWERS, b"T\0\0\0\x21\0\1?column?\0", 66),
        ("mongodb", ANSWERS, struct.pack("<iiii", 38, 7, 1, 2013) + bytes(16), 38),
        ("kafka", ANSWERS, bytes.fromhex("00000011000000010023010012000000020000000000"), 21),
        ("kafka", ANSWERS, bytes.fromhex("000001ea000004d3000000000000000000000001"), 494),
        ("mqtt", ANSWERS, b"\x20\2\0\0", 4),
        ("gloo", ASKS, struct.pack("<Q", 5), 8),
        ("gloo", LIKELY, struct.pack("<QQQQ", 48, 3, 17, 0), 48),
        (
            "gloo",
            LIKELY,
            bytes.fromhex("30000000000000000300000000000000000000000000000400000000"),
            48,
        ),
    ],
)
def test_messages_that_others_send_too_need_the_other_direction(app, certainty, payload, length):
    guesses = classify(payload, length)
    assert Guess(app, certainty) in guesses
    assert SURE not in {guess.certainty for guess in guesses}


def test_two_that_ask_have_nothing_in_common():
    ping, pong = classify(b"PING\r\n", 6), classify(b"+PONG\r\n", 7)
    assert in_common(ping, pong) == in_common(pong, ping) == "redis"
    assert in_common(ping, ping) is in_common(pong, pong) is in_common(ping, []) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"GETTING STARTED / with a text",
        b"EHLO mail.example.org\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"\x13BitTorrent protocol",
        b"l\1\0\1",  # D-Bus
        bytes(32),
        b"\xff" * 32,
    ],
)
def test_other_protocols_have_no_name(payload):
    assert classify(payload, len(payload)) == []


def noise(kind, source):
    """Random bytes: any, of text, and small numbers as binary formats have them."""
    length = source.choice((1, 8, 16, 32, 32, 511))
    if kind == "bytes":
        return source.randbytes(length)
    if kind == "text":
        return bytes(source.choices(range(0x20, 0x7F), k=length))
    return bytes(source.choices((0, 0, 0, 1, 2, 3, source.randrange(256)), k=length))


@pytest.mark.parametrize("kind", ["bytes", "text", "numbers"])
def test_random_payload_is_never_named(kind):
    """A name takes a message that is sure, or two directions that agree on one."""
    source = random.Random(19)
    for _ in range(ROUNDS):
        both = []
        for _ in range(2):
            payload = noise(kind, source)
            guesses = classify(payload[:32], len(payload))
            assert SURE not in {guess.certainty for guess in guesses}, payload
            both.append(guesses)
        assert in_common(*both) is None, both


@pytest.mark.parametrize("app", CLASSIFIERS)
def test_no_beginning_is_too_short(app):
    """Less than a whole header raises nothing."""
    for whole in (
        HELLO,
        DNS_QUERY,
        MONGODB_HELLO,
        KAFKA_VERSIONS,
        POSTGRESQL_START,
        b"\x10\xff\xff",
    ):
        for end in range(len(whole)):
            CLASSIFIERS[app](whole[:end], end)


def test_grpc_is_known_by_its_content_type():
    """As grpcio sends it: a literal header field by the Huffman code of HPACK."""
    assert is_grpc(
        b"\0\0\x50\1\4\0\0\0\1@\x05:path\x5f\x8b" + bytes.fromhex("1d75d0620d263d4c4d6564")
    )
    assert is_grpc(b"content-type\x10application/grpc+proto")
    assert not is_grpc(b"\0\0\x10\1\5\0\0\0\1\x82\x86\x84")
