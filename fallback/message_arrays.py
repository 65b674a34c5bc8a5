"""Messages of sock_diag as arrays: one row for each socket, one field for each counter.

Messages of one kernel mostly have one shape: the same attributes, each at the same place.  Such
messages are read where they are, as one array.  Messages of other shapes are copied into the same
fields, shape by shape.  Sources: as in `sock_diag`.

An array of records is copied by `take`: an index would copy it field by field, 30 times slower.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xctl_probe.fallback.sock_diag import (
    INET_DIAG_CGROUP_ID,
    INET_DIAG_INFO,
    INET_DIAG_SKMEMINFO,
    MESSAGE_BYTES,
    UNKNOWN_PACKS,
    attributes,
)
from xctl_probe.linux.netlink import HEADER, spans

Records = NDArray[np.void]  # one-dimensional, with named fields
Bools = NDArray[np.bool_]
_Fields = dict[str, tuple[Any, int]]  # type and offset by name

NO_CGROUP = (1 << 64) - 1
_ATTRIBUTE_BYTES = 4  # struct nlattr
_LENGTH = struct.Struct("=I")
# Signed, although the kernel's are not: a mixture of both would be computed in floating point.
_FIXED: _Fields = {  # struct inet_diag_msg
    "state": ("u1", 1), "timer": ("u1", 2), "retries": ("u1", 3),
    "ports": ("<u4", 4), "port": (">u2", 6), "path": ("V36", 8), "remote": ("V16", 24),
    "bound_ifindex": ("<u4", 40), "cookie": ("<u8", 44),
    "rqueue": ("<u4", 56), "wqueue": ("<u4", 60), "uid": ("<u4", 64), "inode": ("<u4", 68),
    "queues": (("<i8", (2,)), 56), "family": ("u1", 0),
}  # fmt: skip
_SKMEM: _Fields = {"rmem_alloc": ("<u4", 0), "sndbuf": ("<u4", 12), "wmem_queued": ("<u4", 20)}
_CGROUP: _Fields = {"cgroup": ("<u8", 0)}
_INFO: _Fields = {  # struct tcp_info
    "backoff": ("u1", 4),
    "last_data_sent_ms": ("<u4", 44), "last_data_recv_ms": ("<u4", 52),
    "last_ack_recv_ms": ("<u4", 56), "total_retrans": ("<u4", 100),
    "bytes_acked": ("<i8", 120), "bytes_received": ("<i8", 128), "segs_in": ("<u4", 140),
    "notsent_bytes": ("<u4", 144), "data_segs_in": ("<u4", 152), "data_segs_out": ("<u4", 156),
    "activity": (("<i8", (5,)), 120),
    "rwnd_limited_us": ("<i8", 176), "bytes_sent": ("<i8", 200), "bytes_retrans": ("<i8", 208),
    "dsack_dups": ("<u4", 216), "rcv_ooopack": ("<u4", 224),
}  # fmt: skip
_GROUPS: dict[int, _Fields] = {
    INET_DIAG_SKMEMINFO: _SKMEM, INET_DIAG_INFO: _INFO, INET_DIAG_CGROUP_ID: _CGROUP,
}  # fmt: skip
_LEAST_BYTES = {INET_DIAG_SKMEMINFO: 36}  # SK_MEMINFO_VARS since 4.12
# Fields of a message that lacks an attribute, or has a shorter one, are 0; `cgroup` is NO_CGROUP,
# and `rcv_ooopack` UNKNOWN_PACKS.
FIELDS = np.dtype(
    [(name, kind) for group in (_FIXED, *_GROUPS.values()) for name, (kind, _) in group.items()]
)
_MOST_FIELDS = len(FIELDS.names or ())


class _Shape(NamedTuple):
    """Messages with the same attributes: their layout, and the headers that identify them."""

    layout: np.dtype[np.void]
    headers: np.dtype[np.void]
    values: dict[str, int]  # of these headers
    is_whole: bool  # no field is missing


class Messages(NamedTuple):
    """Sockets of a part of a dump; `fields` has the names of FIELDS."""

    fields: Records
    buffer: memoryview
    offsets: NDArray[np.int64]  # of the payload of each
    lengths: NDArray[np.int64]

    def payload(self, index: int) -> bytes:
        """Return one inet_diag_msg with its attributes."""
        offset = int(self.offsets[index])
        return bytes(self.buffer[offset : offset + int(self.lengths[index])])


def messages_of(buffer: memoryview, kind: int) -> Messages:
    """Return the messages of one kind in a buffer of whole netlink messages.

    Messages of other kinds, and those that are too short for a socket, are left out; a length that
    does not fit is the end of the buffer.
    """
    uniform = _uniform(buffer, kind)
    if uniform is not None:
        return uniform
    found = [
        (offset, length)
        for offset, length, one in spans(buffer)
        if one == kind and length >= MESSAGE_BYTES
    ]
    places = np.array(found, np.int64).reshape(-1, 2)
    offsets, lengths = places[:, 0], places[:, 1]
    return Messages(_copied(buffer, offsets, lengths), buffer, offsets, lengths)


def messages_from(payloads: Sequence[bytes]) -> Messages:
    """Return the messages of these payloads, each a whole inet_diag_msg."""
    lengths = np.array([len(payload) for payload in payloads], np.int64)
    offsets = np.cumsum(lengths) - lengths
    buffer = memoryview(b"".join(payloads))
    return Messages(_copied(buffer, offsets, lengths), buffer, offsets, lengths)


def _uniform(buffer: memoryview, kind: int) -> Messages | None:
    """Return the messages as one array without a copy, where all have one whole shape."""
    if len(buffer) < HEADER.size + MESSAGE_BYTES:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    stride = (length + 3) & ~3
    if not HEADER.size + MESSAGE_BYTES <= length <= len(buffer) or len(buffer) % stride:
        return None
    shape = _shape_of(bytes(buffer[HEADER.size : length]), HEADER.size, stride)
    if not shape.is_whole:
        return None
    count = len(buffer) // stride
    heads = np.ndarray((count,), _HEAD, buffer, 0, (stride,))
    same = (heads["length"] == length) & (heads["kind"] == kind)
    if not bool((same & _matches(shape, buffer, count)).all()):
        return None
    fields = np.ndarray((count,), shape.layout, buffer)
    offsets = np.arange(HEADER.size, len(buffer), stride, dtype=np.int64)
    return Messages(fields, buffer, offsets, np.full(count, length - HEADER.size, np.int64))


_HEAD = np.dtype([("length", "<u4"), ("kind", "<u2")])


def _matches(shape: _Shape, buffer: memoryview | NDArray[np.uint8], count: int) -> Bools:
    """Return which of the messages, one after another in the buffer, have these attributes."""
    headers = np.ndarray((count,), shape.headers, buffer)
    same = np.ones(count, np.bool_)
    for name in shape.headers.names or ():
        same &= headers[name] == shape.values[name]
    return same


def _copied(buffer: memoryview, offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Records:
    """Return a copy of the fields of messages of any shapes."""
    fields = np.zeros(len(offsets), FIELDS)
    fields["cgroup"], fields["rcv_ooopack"] = NO_CGROUP, UNKNOWN_PACKS
    raw = np.frombuffer(buffer, np.uint8)
    for length in np.unique(lengths):
        left = np.flatnonzero(lengths == length)
        while len(left):
            at = int(offsets[left[0]])
            shape = _shape_of(bytes(buffer[at : at + int(length)]), 0, int(length))
            rows = raw[offsets[left][:, None] + np.arange(int(length))]
            same = _matches(shape, rows, len(left))
            same[0] = True
            source = np.ndarray((len(left),), shape.layout, rows)
            for name in shape.layout.names or ():
                fields[name][left[same]] = source[name][same]
            left = left[~same]
    return fields


def _shape_of(message: bytes, begin: int, size: int) -> _Shape:
    return _shape(tuple(attributes(message)), begin, size)


@lru_cache(maxsize=256)
def _shape(places: tuple[tuple[int, int, int], ...], begin: int, size: int) -> _Shape:
    """Return the shape with these attributes (type, start, end); the last one of a type counts.

    The messages begin at `begin` of records of `size` bytes.
    """
    fields = {name: (type_, begin + offset) for name, (type_, offset) in _FIXED.items()}
    headers, values = {}, {}
    for kind, start, end in places:
        group = {} if end - start < _LEAST_BYTES.get(kind, 0) else _GROUPS.get(kind, {})
        for name, (type_, offset) in group.items():
            if start + offset + np.dtype(type_).itemsize <= end:
                fields[name] = type_, begin + start + offset
        headers[f"{start}"] = "<u4", begin + start - _ATTRIBUTE_BYTES
        values[f"{start}"] = (end - start + _ATTRIBUTE_BYTES) | kind << 16
    return _Shape(_dtype(fields, size), _dtype(headers, size), values, len(fields) == _MOST_FIELDS)


def _dtype(fields: _Fields, size: int) -> np.dtype[np.void]:
    names = list(fields)
    return np.dtype(
        {
            "names": names,
            "formats": [fields[name][0] for name in names],
            "offsets": [fields[name][1] for name in names],
            "itemsize": size,
        }
    )
