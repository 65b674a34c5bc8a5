"""Ways into and out of a stream socket: each moves `count` bytes and returns what went through."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
from contextlib import suppress

from uring import MORE, Ring

IPPROTO_MPTCP = 262
MSG_ZEROCOPY, SO_ZEROCOPY = 0x4000000, 60
TCP_ZEROCOPY_RECEIVE = 35
TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 31, 282, 1, 2
# struct tls12_crypto_info_aes_gcm_128: version 1.2, cipher 51, then iv, key, salt, sequence
TLS_KEYS = struct.pack("<HH", 0x0303, 51) + bytes(8 + 16 + 4 + 8)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Pair = tuple[socket.socket, socket.socket]
Moved = tuple[int, int]  # bytes sent, bytes received


def stream(host: str = "127.0.0.1", protocol: int = 0, family: int = socket.AF_INET) -> Pair:
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    listener.bind((host, 0))
    listener.listen(1)
    sender = socket.socket(family, socket.SOCK_STREAM, protocol)
    sender.connect((host, listener.getsockname()[1]))
    return sender, listener.accept()[0]


def multipath() -> Pair:
    return stream(protocol=IPPROTO_MPTCP)


def fast_open() -> Pair:
    """Connected by its first send, with the data in the SYN where the host allows it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 1)
    sender = socket.socket()
    sender.sendto(bytes(1_009), socket.MSG_FASTOPEN, listener.getsockname())
    receiver = listener.accept()[0]
    receive(receiver, 1_009)
    return sender, receiver


def receive(sock: socket.socket, count: int, flags: int = 0) -> int:
    got = 0
    while got < count and (part := len(sock.recv(count - got, flags))):
        got += part
    return got


def file_of(count: int) -> int:
    descriptor = os.memfd_create("payload")
    os.write(descriptor, bytes(count))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def plain(pair: Pair, count: int) -> Moved:
    pair[0].sendall(bytes(count))
    return count, receive(pair[1], count)


def sendfile(pair: Pair, count: int) -> Moved:
    sent, descriptor = 0, file_of(count)
    while sent < count:
        sent += os.sendfile(pair[0].fileno(), descriptor, sent, count - sent)
    return sent, receive(pair[1], count)


def splice_out(pair: Pair, count: int) -> Moved:
    source, (reader, writer) = file_of(count), os.pipe()
    left = count
    while left:
        moved = os.splice(source, writer, left)
        left -= moved
        while moved:
            moved -= os.splice(reader, pair[0].fileno(), moved)
    return count, receive(pair[1], count)


def splice_in(pair: Pair, count: int) -> Moved:
    pair[0].sendall(bytes(count))
    reader, writer = os.pipe()
    got = 0
    while got < count:
        moved = os.splice(pair[1].fileno(), writer, count - got)
        got += len(os.read(reader, moved))
    return count, got


def peek(pair: Pair, count: int) -> Moved:
    pair[0].sendall(bytes(count))
    for _ in range(3):
        pair[1].recv(count, socket.MSG_PEEK)
    return count, receive(pair[1], count)


def discard(pair: Pair, count: int) -> Moved:
    """MSG_TRUNC on a stream throws away without a copy, tcp(7); it was received all the same.

    By address 0, which proves that nothing is copied.
    """
    pair[0].sendall(bytes(count))
    libc, got = ctypes.CDLL(None), 0
    while got < count:
        got += libc.recv(pair[1].fileno(), None, count - got, socket.MSG_TRUNC)
    return count, got


def urgent(pair: Pair, count: int) -> Moved:
    """A byte out of band between two halves is read by a call of its own."""
    half = count // 2
    pair[0].sendall(bytes(half))
    pair[0].send(b"!", socket.MSG_OOB)
    pair[0].sendall(bytes(count - half))
    select.select([], [], [pair[1]])
    got = len(pair[1].recv(1, socket.MSG_OOB))
    return count + 1, got + receive(pair[1], count)


def vectors(pair: Pair, count: int) -> Moved:
    parts = [bytes(count // 7)] * 6
    parts.append(bytes(count - sum(map(len, parts))))
    sent = pair[0].sendmsg(parts)
    got, buffers = 0, [bytearray(count) for _ in range(3)]
    while got < sent:
        got += pair[1].recvmsg_into(buffers)[0]
    return sent, got


def read_write(pair: Pair, count: int) -> Moved:
    left = count
    while left:
        left -= os.write(pair[0].fileno(), bytes(left))
    got = 0
    while got < count:
        got += len(os.read(pair[1].fileno(), count))
    return count, got


def zerocopy(pair: Pair, count: int) -> Moved:
    """The notice of its end comes by the error queue, and is no traffic."""
    pair[0].setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    left = count
    while left:
        left -= pair[0].send(bytes(left), MSG_ZEROCOPY)
    got = receive(pair[1], count)
    poll = select.poll()
    poll.register(pair[0], 0)  # POLLERR comes unasked
    poll.poll()
    pair[0].recvmsg(100, 512, socket.MSG_ERRQUEUE)
    return count, got


class ZerocopyReceive(ctypes.Structure):
    """The beginning of struct tcp_zerocopy_receive: what is not mapped goes to the buffer."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("length", ctypes.c_uint32),
        ("recv_skip_hint", ctypes.c_uint32),
        ("inq", ctypes.c_uint32),
        ("err", ctypes.c_int32),
        ("copybuf_address", ctypes.c_uint64),
        ("copybuf_len", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    )


def zerocopy_receive(pair: Pair, count: int) -> Moved:
    """By a socket option, not by a receive."""
    pair[0].sendall(bytes(count))
    libc, into, got = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(count), 0
    while got < count:
        asked = ZerocopyReceive(copybuf_address=ctypes.addressof(into), copybuf_len=count)
        size = ctypes.c_uint32(ctypes.sizeof(asked))
        where = (pair[1].fileno(), socket.IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE)
        if libc.getsockopt(*where, ctypes.byref(asked), ctypes.byref(size)):
            raise OSError(ctypes.get_errno(), "TCP_ZEROCOPY_RECEIVE")
        got += asked.copybuf_len if not asked.recv_skip_hint else 0
    return count, got


def full_buffer(pair: Pair, count: int) -> Moved:
    """Into EAGAIN and short sends again and again: what was refused is not traffic."""
    pair[0].setblocking(False)
    left, got = count * 101, 0
    while left or got < count * 101:
        with suppress(BlockingIOError):
            left -= pair[0].send(bytes(min(left, 1 << 18))) if left else 0
        got += len(pair[1].recv(1 << 16))
    return got, got


def tls(pair: Pair, count: int) -> Moved:
    for sock, way in zip(pair, (TLS_TX, TLS_RX), strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        sock.setsockopt(SOL_TLS, way, TLS_KEYS)
    return plain(pair, count)


def half_closed(pair: Pair, count: int) -> Moved:
    """The client has closed its half, and still gets the whole answer."""
    pair[0].sendall(bytes(1_009))
    pair[0].shutdown(socket.SHUT_WR)
    asked = receive(pair[1], 1_010)
    pair[1].sendall(bytes(count))
    pair[1].shutdown(socket.SHUT_WR)
    return count + 1_009, asked + receive(pair[0], count + 1)


def after_reset(pair: Pair, count: int) -> Moved:
    """The peer is gone by a RST, and what had come before it is still read."""
    pair[0].sendall(bytes(count))
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    pair[0].close()
    select.select([pair[1]], [], [])
    return count, receive(pair[1], count)


def ring(pair: Pair, count: int) -> Moved:
    """io_uring: receives that find all there, and one that has to wait."""
    uring, into, late = Ring(), ctypes.create_string_buffer(1 << 16), 101
    sent = uring.send(pair[0], ctypes.create_string_buffer(count - late))
    got = 0
    while got < sent:
        got += uring.receive(pair[1], into)
    waiting = threading.Timer(0.05, pair[0].send, (bytes(late),))
    waiting.start()
    return sent + late, got + uring.receive(pair[1], into)


def ring_multishot(pair: Pair, count: int) -> Moved:
    """One request, many completions: 31 buffers for 29 messages, one after the other."""
    uring, message, messages = Ring(), count // 29, 29
    buffers = ctypes.create_string_buffer(31 * (message + 1))
    uring.provide(buffers, 31)
    uring.receive_many(pair[1])
    got = 0
    for number in range(1, messages + 1):
        pair[0].sendall(bytes(message))
        while got < number * message:
            completion = uring.complete()
            assert completion.flags & MORE
            got += completion.result
    return messages * message, got


def ring_zerocopy(pair: Pair, count: int) -> Moved:
    sent = Ring().send_zero_copy(pair[0], ctypes.create_string_buffer(count))
    return sent, receive(pair[1], sent)
