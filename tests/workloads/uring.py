"""io_uring by plain system calls: sends and receives that no socket call is made for.

Layouts and numbers are those of linux/io_uring.h; `params` is struct io_uring_params.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from dataclasses import dataclass

SETUP, ENTER = 425, 426  # the same on every architecture
ENTRIES = 64
SQ_RING, CQ_RING, SQES = 0, 0x8000000, 0x10000000
GETEVENTS = 1
SEND, RECV, PROVIDE_BUFFERS, SEND_ZC = 26, 27, 31, 47
BUFFER_SELECT, RECV_MULTISHOT = 1 << 5, 1 << 1
MORE = 1 << 1  # flag of a completion: others of the same request follow
ENTRY = struct.Struct("=BBHiQQIIQHHiQQ")
COMPLETION = struct.Struct("=QiI")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Completion:
    """What became of a request: its result (bytes) and flags."""

    result: int
    flags: int


class Ring:
    """One ring of one thread; each method asks and waits for the completion."""

    def __init__(self) -> None:
        params = ctypes.create_string_buffer(120)
        self._ring = _call(SETUP, ENTRIES, params)
        sq = struct.unpack_from("7I", params, 40)
        cq = struct.unpack_from("6I", params, 80)
        self._tail, self._mask, self._array = sq[1], sq[2], sq[6]
        self._head, self._cq_tail, self._cq_mask, self._cqes = cq[0], cq[1], cq[2], cq[5]
        self._sq = mmap.mmap(self._ring, 4096, offset=SQ_RING)
        self._cq = mmap.mmap(self._ring, 4096, offset=CQ_RING)
        self._sqes = mmap.mmap(self._ring, 4096, offset=SQES)

    def send(self, sock: socket.socket, data: ctypes.Array[ctypes.c_char]) -> int:
        self._submit(SEND, sock.fileno(), ctypes.addressof(data), len(data))
        return self.complete().result

    def send_zero_copy(self, sock: socket.socket, data: ctypes.Array[ctypes.c_char]) -> int:
        """Sent without a copy: its notice, that the pages are free again, comes after."""
        self._submit(SEND_ZC, sock.fileno(), ctypes.addressof(data), len(data))
        sent = self.complete()
        if sent.flags & MORE:
            self.complete()
        return sent.result

    def receive(self, sock: socket.socket, into: ctypes.Array[ctypes.c_char]) -> int:
        self._submit(RECV, sock.fileno(), ctypes.addressof(into), len(into))
        return self.complete().result

    def provide(self, buffers: ctypes.Array[ctypes.c_char], count: int) -> None:
        """Give the kernel `count` buffers of equal size to receive into."""
        size = len(buffers) // count
        self._submit(PROVIDE_BUFFERS, count, ctypes.addressof(buffers), size)
        self.complete()

    def receive_many(self, sock: socket.socket) -> None:
        """One request whose completions come with the data, into provided buffers."""
        self._submit(RECV, sock.fileno(), 0, 0, flags=BUFFER_SELECT, priority=RECV_MULTISHOT)

    def complete(self) -> Completion:
        """The next completion; raises OSError for one that failed."""
        (head,) = struct.unpack_from("I", self._cq, self._head)
        if head == struct.unpack_from("I", self._cq, self._cq_tail)[0]:
            _call(ENTER, self._ring, 0, 1, GETEVENTS, None, 0)
        (mask,) = struct.unpack_from("I", self._cq, self._cq_mask)
        at = self._cqes + (head & mask) * COMPLETION.size
        _, result, flags = COMPLETION.unpack_from(self._cq, at)
        struct.pack_into("I", self._cq, self._head, head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return Completion(result, flags)

    def _submit(
        self, opcode: int, target: int, address: int, length: int, flags: int = 0, priority: int = 0
    ) -> None:
        (tail,) = struct.unpack_from("I", self._sq, self._tail)
        (mask,) = struct.unpack_from("I", self._sq, self._mask)
        slot = tail & mask
        entry = (opcode, flags, priority, target, 0, address, length, 0, 0, 0, 0, 0, 0, 0)
        ENTRY.pack_into(self._sqes, slot * ENTRY.size, *entry)
        struct.pack_into("I", self._sq, self._array + slot * 4, slot)
        struct.pack_into("I", self._sq, self._tail, tail + 1)
        assert _call(ENTER, self._ring, 1, 0, 0, None, 0) == 1


def _call(number: int, *arguments: object) -> int:
    got = _libc.syscall(number, *arguments)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(got)
