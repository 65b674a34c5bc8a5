"""Stand-ins for what the kernel hands over, filled from the bytes of a fuzz run."""

from __future__ import annotations

import ctypes as c
import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

from xctl_probe.fallback.sock_diag import SockDiag
from xctl_probe.linux.netlink import NLMSG_DONE, NetlinkSocket

DONE = (20).to_bytes(4, "little") + NLMSG_DONE.to_bytes(2, "little") + bytes(14)
BUFFER_BYTES = 1 << 16  # of one recv


def parts(data: bytes, count: int) -> list[bytes]:
    """Cut into so many parts, at places that the data itself names."""
    cuts, body = data[: count - 1], data[count - 1 :]
    places = sorted(cut * len(body) // 255 for cut in cuts.ljust(count - 1, b"\0"))
    closed = [*places, len(body)]
    return [body[a:b] for a, b in zip([0, *places], closed, strict=True)]


class _Answers:
    """The kernel's end of a netlink socket: hands out its buffers, then the end of a dump."""

    def __init__(self, data: bytes) -> None:
        self.buffers = [data[i : i + BUFFER_BYTES] for i in range(0, len(data), BUFFER_BYTES)]

    def send(self, _request: bytes) -> None:
        pass

    def recv_into(self, buffer: memoryview, size: int) -> int:
        datagram = self.recv(size)
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def recv(self, _size: int, flags: int = 0) -> bytes:
        if self.buffers:
            return self.buffers.pop(0)
        if flags:
            raise BlockingIOError
        return DONE


def netlink(data: bytes) -> NetlinkSocket:
    """A netlink socket that answers with this."""
    made = object.__new__(NetlinkSocket)
    made._socket = _Answers(data)  # type: ignore[assignment]
    made._sequence, made._is_answered, made._chunks = 0, True, None
    return made


class Diag(SockDiag):
    """sock_diag that answers with other bytes each time."""

    def __init__(self) -> None:
        self.overruns = 0
        self.next(b"", b"")

    def next(self, dump: bytes, closed: bytes) -> None:
        self._dumps, self._destroyed = netlink(dump), netlink(closed)


class Table:
    """A map of the kernel's: lookups give its value, its items are cut from the data."""

    def __init__(self, data: bytes, key_bytes: int, value_bytes: int) -> None:
        self.data, self.key_bytes, self.value_bytes = data, key_bytes, value_bytes

    def lookup(self, _key: bytes, copies: int = 1) -> bytes | None:
        size = self.value_bytes * copies
        return self.data[:size] if len(self.data) >= size else None

    def update(self, _key: bytes, _value: bytes) -> None:
        pass

    def delete(self, _key: bytes) -> None:
        pass

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        size = self.key_bytes + self.value_bytes
        for at in range(0, len(self.data) - size + 1, size):
            yield self.data[at : at + self.key_bytes], self.data[at + self.key_bytes : at + size]


class BatchLookup:
    """bpf_map_lookup_batch() of a kernel that fills in anything, and any count."""

    def __init__(self, data: bytes) -> None:
        self.data, self.calls = data, 0

    def __call__(self, *arguments: object) -> int:
        _, cursor, keys, values, count = arguments[-5:]
        self.calls += 1
        reported, self.data = self.data[:6], self.data[6:]
        for buffer in (cursor, keys, values):
            take = min(len(buffer), len(self.data))  # type: ignore[arg-type]
            c.memmove(buffer, self.data, take)  # type: ignore[arg-type]
        count.contents.value = int.from_bytes(reported[:4], "little")  # type: ignore[attr-defined]
        if len(reported) < 6 or self.calls > 64:
            c.set_errno(errno.ENOENT)
            return -1
        failed = reported[4] < 16
        c.set_errno(reported[5] if failed else 0)
        return -1 if failed else 0


@contextmanager
def ring_file(data: bytes, size: int) -> Iterator[int]:
    """A descriptor that maps like a ring buffer: two positions, and the data twice."""
    page = mmap.PAGESIZE
    fd = os.memfd_create("ring")
    try:
        os.ftruncate(fd, 2 * page + 2 * size)
        consumed, produced, body = data[:8], data[8:16], data[16 : 16 + size]
        for at, piece in ((0, consumed), (page, produced), (2 * page, body)):
            os.pwrite(fd, piece, at)
        os.pwrite(fd, body, 2 * page + size)
        yield fd
    finally:
        os.close(fd)
