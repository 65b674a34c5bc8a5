"""Ways into and out of a datagram socket: each returns the bytes that both sockets moved."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct

from path_streams import Moved, Pair
from uring import Ring

UDP_CORK, UDP_SEGMENT, UDP_GRO = 1, 103, 104
SIZE, TIMES = 1_009, 23  # 23 datagrams of 1,009 bytes
ALL = SIZE * TIMES


def datagram(host: str = "127.0.0.1", family: int = socket.AF_INET) -> Pair:
    """A connected sender and its receiver."""
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    receiver.bind((host, 0))
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return sender, receiver


def unconnected(host: str = "127.0.0.1", family: int = socket.AF_INET) -> Pair:
    """A sender that names the receiver, its own peer, with each send."""
    receiver = datagram(host, family)[1]
    return socket.socket(family, socket.SOCK_DGRAM), receiver


def take(sock: socket.socket, times: int = TIMES, size: int = 1 << 16, flags: int = 0) -> int:
    return sum(sock.recvfrom_into(bytearray(size), size, flags)[0] for _ in range(times))


def plain(pair: Pair, _: int) -> Moved:
    return sum(pair[0].send(bytes(SIZE)) for _ in range(TIMES)), take(pair[1])


def to_address(pair: Pair, _: int) -> Moved:
    there = pair[1].getsockname()
    return sum(pair[0].sendto(bytes(SIZE), there) for _ in range(TIMES)), take(pair[1])


def peek(pair: Pair, _: int) -> Moved:
    pair[0].send(bytes(SIZE))
    take(pair[1], 3, flags=socket.MSG_PEEK)
    return SIZE, take(pair[1], 1)


def cut_short(pair: Pair, _: int) -> Moved:
    """Into a buffer of 7 bytes: the process gets 7, and the rest of the datagram is lost."""
    return _cut(pair, 0)


def _cut(pair: Pair, flags: int) -> Moved:
    sent = sum(pair[0].send(bytes(SIZE)) for _ in range(TIMES))
    return sent, take(pair[1], size=7, flags=flags)


def whole_length(pair: Pair, _: int) -> Moved:
    """The same with MSG_TRUNC: the call returns the datagram's own length."""
    return _cut(pair, socket.MSG_TRUNC)


def segments(pair: Pair, _: int) -> Moved:
    """GSO: one send that leaves as 23 datagrams."""
    pair[0].setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
    return pair[0].send(bytes(ALL)), take(pair[1])


def coalesced(pair: Pair, _: int) -> Moved:
    """GRO: 23 datagrams that are received by one call."""
    pair[1].setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    pair[0].setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
    sent = pair[0].send(bytes(ALL))
    into = bytearray(1 << 16)
    got, ancillary, *_ = pair[1].recvmsg_into([into], socket.CMSG_SPACE(4))
    if got == SIZE and not ancillary:
        raise OSError(errno.EOPNOTSUPP, "nothing was coalesced")
    assert [struct.unpack("i", data)[0] for *_, data in ancillary] == [SIZE]
    return sent, got


def cork(pair: Pair, _: int) -> Moved:
    """Seven sends that leave as one datagram."""
    pair[0].setsockopt(socket.IPPROTO_UDP, UDP_CORK, 1)
    sent = sum(pair[0].send(bytes(101)) for _ in range(7))
    pair[0].setsockopt(socket.IPPROTO_UDP, UDP_CORK, 0)
    return sent, take(pair[1], 1)


def ring(pair: Pair, _: int) -> Moved:
    uring, data = Ring(), ctypes.create_string_buffer(SIZE)
    into = ctypes.create_string_buffer(1 << 16)
    sent = sum(uring.send(pair[0], data) for _ in range(TIMES))
    return sent, sum(uring.receive(pair[1], into) for _ in range(TIMES))


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


def batches(pair: Pair, _: int) -> Moved:
    """sendmmsg(2) and recvmmsg(2): many datagrams in a call."""
    libc = ctypes.CDLL(None)
    buffers = [ctypes.create_string_buffer(SIZE) for _ in range(TIMES)]
    vectors = [Vector(ctypes.addressof(buffer), SIZE) for buffer in buffers]
    messages = (Message * TIMES)(
        *(Message(Header(vectors=ctypes.pointer(v), vectors_count=1)) for v in vectors)
    )
    assert libc.sendmmsg(pair[0].fileno(), messages, TIMES, 0) == TIMES
    sent = sum(message.length for message in messages)
    assert libc.recvmmsg(pair[1].fileno(), messages, TIMES, 0, None) == TIMES
    return sent, sum(message.length for message in messages)
