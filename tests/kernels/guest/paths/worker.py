"""Bytes that take a way around the plain send and recv: `worker.py PATH`, both ends in one.

`open` connects two sockets; `move` sends COUNT bytes down the path and receives them all.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

IPPROTO_MPTCP = 262
MSG_ZEROCOPY, SO_ZEROCOPY = 0x4000000, 60
UDP_CORK, UDP_SEGMENT = 1, 103
TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 31, 282, 1, 2
# struct tls12_crypto_info_aes_gcm_128: version 1.2, cipher 51, then iv, key, salt, sequence
TLS_KEYS = struct.pack("<HH", 0x0303, 51) + bytes(8 + 16 + 4 + 8)
DATAGRAM = 1_009
Ends = tuple[socket.socket, socket.socket]


def report(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def receive(sock: socket.socket, count: int) -> int:
    got = 0
    while got < count and (part := sock.recv(count - got)):
        got += len(part)
    return got


def stream(host: str = "127.0.0.1", protocol: int = 0, family: int = socket.AF_INET) -> Ends:
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    listener.bind((host, 0))
    listener.listen(1)
    sender = socket.socket(family, socket.SOCK_STREAM, protocol)
    sender.connect((host, listener.getsockname()[1]))
    return sender, listener.accept()[0]


def datagram(host: str = "127.0.0.1", family: int = socket.AF_INET) -> Ends:
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    receiver.bind((host, 0))
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return sender, receiver


def file_of(count: int) -> int:
    descriptor = os.memfd_create("payload")
    os.write(descriptor, bytes(count))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def sendfile(ends: Ends, count: int) -> int:
    sent = 0
    descriptor = file_of(count)
    while sent < count:
        sent += os.sendfile(ends[0].fileno(), descriptor, sent, count - sent)
    return receive(ends[1], count)


def splice_out(ends: Ends, count: int) -> int:
    source, (reader, writer) = file_of(count), os.pipe()
    left = count
    while left:
        moved = os.splice(source, writer, left)
        left -= moved
        while moved:
            moved -= os.splice(reader, ends[0].fileno(), moved)
    return receive(ends[1], count)


def splice_in(ends: Ends, count: int) -> int:
    ends[0].sendall(bytes(count))
    reader, writer = os.pipe()
    got = 0
    while got < count:
        moved = os.splice(ends[1].fileno(), writer, count - got)
        got += len(os.read(reader, moved))
    return got


def peek(ends: Ends, count: int) -> int:
    ends[0].sendall(bytes(count))
    for _ in range(3):
        ends[1].recv(count, socket.MSG_PEEK)
    return receive(ends[1], count)


def vectors(ends: Ends, count: int) -> int:
    parts = [bytes(count // 7)] * 6
    parts.append(bytes(count - sum(map(len, parts))))
    ends[0].sendmsg(parts)
    got, buffers = 0, [bytearray(count) for _ in range(3)]
    while got < count:
        got += ends[1].recvmsg_into(buffers)[0]
    return got


def read_write(ends: Ends, count: int) -> int:
    left = count
    while left:
        left -= os.write(ends[0].fileno(), bytes(left))
    got = 0
    while got < count:
        got += len(os.read(ends[1].fileno(), count))
    return got


def zerocopy(ends: Ends, count: int) -> int:
    ends[0].setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    left = count
    while left:
        left -= ends[0].send(bytes(left), MSG_ZEROCOPY)
    return receive(ends[1], count)


def full_buffer(ends: Ends, count: int) -> int:
    """Into EAGAIN again and again: what was refused is not traffic.  Moves exactly `count`."""
    ends[0].setblocking(False)
    left, got = count * 101, 0
    while left or got < count * 101:
        with suppress(BlockingIOError):
            left -= ends[0].send(bytes(min(left, 1 << 18))) if left else 0
        got += len(ends[1].recv(1 << 16))
    return got


def tls(ends: Ends, count: int) -> int:
    for sock, way in zip(ends, (TLS_TX, TLS_RX), strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        sock.setsockopt(SOL_TLS, way, TLS_KEYS)
    ends[0].sendall(bytes(count))
    return receive(ends[1], count)


def plain(ends: Ends, count: int) -> int:
    ends[0].sendall(bytes(count))
    return receive(ends[1], count)


def datagrams(ends: Ends, count: int) -> int:
    for _ in range(count // DATAGRAM):
        ends[0].send(bytes(DATAGRAM))
    return sum(len(ends[1].recv(1 << 16)) for _ in range(count // DATAGRAM))


def udp_peek(ends: Ends, count: int) -> int:
    ends[0].send(bytes(DATAGRAM))
    for _ in range(3):
        ends[1].recv(1 << 16, socket.MSG_PEEK)
    return len(ends[1].recv(1 << 16))


def udp_segments(ends: Ends, count: int) -> int:
    ends[0].setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, DATAGRAM)
    ends[0].send(bytes(DATAGRAM * 23))
    return sum(len(ends[1].recv(1 << 16)) for _ in range(23))


def udp_cork(ends: Ends, count: int) -> int:
    ends[0].setsockopt(socket.IPPROTO_UDP, UDP_CORK, 1)
    for _ in range(7):
        ends[0].send(bytes(101))
    ends[0].setsockopt(socket.IPPROTO_UDP, UDP_CORK, 0)
    return len(ends[1].recv(1 << 16))


class Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(Vector)),
        ("vectors_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", Header), ("length", ctypes.c_uint32))


def udp_batches(ends: Ends, count: int) -> int:
    """sendmmsg(2) and recvmmsg(2): many datagrams in a call."""
    libc = ctypes.CDLL(None)
    buffers = [ctypes.create_string_buffer(DATAGRAM) for _ in range(23)]
    vectors = [Vector(ctypes.addressof(buffer), DATAGRAM) for buffer in buffers]
    messages = (Message * 23)(
        *(Message(Header(vectors=ctypes.pointer(v), vectors_count=1)) for v in vectors)
    )
    assert libc.sendmmsg(ends[0].fileno(), messages, 23, 0) == 23
    assert libc.recvmmsg(ends[1].fileno(), messages, 23, 0, None) == 23
    return sum(message.length for message in messages)


V6 = socket.AF_INET6
PATHS: dict[str, tuple[Callable[[], Ends], Callable[[Ends, int], int]]] = {
    "sendfile": (stream, sendfile),
    "splice_out": (stream, splice_out),
    "splice_in": (stream, splice_in),
    "peek": (stream, peek),
    "vectors": (stream, vectors),
    "read_write": (stream, read_write),
    "zerocopy": (stream, zerocopy),
    "full_buffer": (stream, full_buffer),
    "tls": (stream, tls),
    "mptcp": (lambda: stream(protocol=IPPROTO_MPTCP), plain),
    "v6": (lambda: stream("::1", family=V6), plain),
    "v4_mapped": (lambda: stream("::ffff:127.0.0.1", family=V6), plain),
    "udp_peek": (datagram, udp_peek),
    "udp_segments": (datagram, udp_segments),
    "udp_cork": (datagram, udp_cork),
    "udp_batches": (datagram, udp_batches),
    "udp_v6": (lambda: datagram("::1", V6), datagrams),
    "udp_v4_mapped": (lambda: datagram("::ffff:127.0.0.1", V6), datagrams),
}


def main() -> None:
    opened, move = PATHS[sys.argv[1]]
    report("hello", pid=os.getpid())
    ends = None
    for line in sys.stdin:
        verb, *words = line.split()
        try:
            if verb == "open":
                ends = opened()
                report("open")
            elif ends:
                report("move", bytes=move(ends, int(words[0])))
        except OSError as error:
            report(verb, error=error.strerror)


if __name__ == "__main__":
    main()
