"""Bulk reader of a BPF ring buffer (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst).

The reader of libbpf calls back for each record, which costs more in Python than the record.
"""

from __future__ import annotations

import ctypes as c
import mmap
import struct
from collections.abc import Iterator
from typing import Any

from xctl_probe.figures import RingFigures

_BUSY = 1 << 31  # reserved, not yet submitted
_DISCARDED = 1 << 30
_HEADER_BYTES = 8
_BATCH_RECORDS = 4096
_PAGE = mmap.PAGESIZE


class Ring:
    """Consumer of one ring buffer map of `size` bytes.

    `record_bytes`: the size of nearly all records, a multiple of 8; 0: they differ.
    """

    def __init__(self, fd: int, size: int, record_bytes: int = 0) -> None:
        self.fd = fd
        self._record_bytes = record_bytes
        self._mask = size - 1
        self._mine = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # After the producer's page, the data is mapped twice, so that no record wraps.
        self._theirs = mmap.mmap(
            fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE
        )
        self._view = memoryview(self._theirs)
        self._consumed = c.c_uint64.from_buffer(self._mine)
        self._most_used = 0  # bytes
        self._closed = False

    def use(self) -> RingFigures:
        """Return how much of the ring is waiting to be read."""
        waiting = self._waiting(self._consumed.value)
        self._most_used = max(self._most_used, waiting)
        return RingFigures(self._mask + 1, waiting, self._most_used)

    def _produced(self) -> int:
        return int.from_bytes(self._theirs[:8], "little")

    def _waiting(self, at: int) -> int:
        """Return the number of unread bytes from this position."""
        return min(max(self._produced() - at, 0), self._mask + 1)

    def records(self) -> Iterator[bytes]:
        """Yield the records submitted so far; each is released when the next is requested.

        Those of the common size are yielded together, one after another, without headers.  Later
        records are left for the next call: in a flood, the caller would never return.
        """
        at = self._consumed.value
        end = at + self._waiting(at)
        self._most_used = max(self._most_used, end - at)
        while at < end:
            together = self._together(at, end - at) if self._record_bytes else []
            if together:
                yield b"".join(together)
                at += len(together) * (_HEADER_BYTES + self._record_bytes)
                self._consumed.value = at
                continue
            start = _PAGE + (at & self._mask)
            length = int.from_bytes(self._theirs[start : start + 4], "little")
            if length & _BUSY:
                return
            size = min(length & ~_DISCARDED, max(end - at - _HEADER_BYTES, 0))
            if not length & _DISCARDED:
                body = start + _HEADER_BYTES
                yield self._theirs[body : body + size]
            at = min(at + ((size + _HEADER_BYTES + 7) & ~7), end)
            self._consumed.value = at

    def batch(self, layout: struct.Struct) -> list[tuple[Any, ...]]:
        """Return the records of a ring in which all have this layout, oldest first.

        Twenty times faster than `records`: headers are compared and records decoded in bulk, a few
        thousand at a time, so that their space is released soon.
        """
        at = self._consumed.value
        found = self._alike(at, self._waiting(at), layout.size)
        with_header = struct.Struct(f"={_HEADER_BYTES}x{layout.format[1:]}")
        rows = list(with_header.iter_unpack(found))
        self._consumed.value = at + len(found)
        return rows

    def _together(self, at: int, length: int) -> list[memoryview]:
        """Return the records of the common size from this position on."""
        stride = _HEADER_BYTES + self._record_bytes
        found = self._alike(at, length, self._record_bytes)
        return [found[i + _HEADER_BYTES : i + stride] for i in range(0, len(found), stride)]

    def _alike(self, at: int, length: int, size: int) -> memoryview:
        """Return the submitted records of one size from this position on, with their headers."""
        stride = _HEADER_BYTES + size
        start = _PAGE + (at & self._mask)
        count = min(length // stride, _BATCH_RECORDS)
        whole = self._view[start : start + count * stride]
        lengths = whole.cast("I")[:: stride // 4].tobytes()
        return whole[: _ready(lengths, struct.pack("=I", size)) * stride]

    def close(self) -> None:
        """Unmap.  Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        del self._consumed  # it references the mapping
        self._view.release()
        self._mine.close()
        self._theirs.close()


def _ready(lengths: bytes, expected: bytes) -> int:
    """Return the number of leading records that are submitted: a reserved one has a bit set."""
    count = len(lengths) // len(expected)
    if lengths == expected * count:
        return count
    found = (lengths[i : i + 4] == expected for i in range(0, len(lengths), 4))
    return next(i for i, ok in enumerate(found) if not ok)
