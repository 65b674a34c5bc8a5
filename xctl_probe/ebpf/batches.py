"""Reads of a hash map in batches: BPF_MAP_LOOKUP_BATCH of bpf(2), through any library."""

from __future__ import annotations

import ctypes as c
import errno
import os
from collections.abc import Callable, Iterator

_BATCH = 1024


def read_batches(
    lookup: Callable[..., int], key_bytes: int, value_bytes: int, batch: int = _BATCH
) -> Iterator[tuple[bytes, bytes]]:
    """Yield each key with its value.  Raises OSError, before 5.6 with the first batch.

    `lookup` takes start, cursor, keys, values and count, as bpf_map_lookup_batch() does, and
    returns 0, or -1 with errno set.
    """
    keys = c.create_string_buffer(key_bytes * batch)
    values = c.create_string_buffer(value_bytes * batch)
    for found in _batches(lookup, keys, values, batch, key_bytes):
        yield from zip(
            _pieces(keys.raw, key_bytes, found),
            _pieces(values.raw, value_bytes, found),
            strict=True,
        )


def count_batches(
    lookup: Callable[..., int], key_bytes: int, value_bytes: int, batch: int = _BATCH
) -> Iterator[int]:
    """Yield the number of items of one batch after another, as `read_batches` reads them."""
    keys = c.create_string_buffer(key_bytes * batch)
    values = c.create_string_buffer(value_bytes * batch)
    yield from _batches(lookup, keys, values, batch, key_bytes)


def _batches(
    lookup: Callable[..., int],
    keys: c.Array[c.c_char],
    values: c.Array[c.c_char],
    batch: int,
    key_bytes: int,
) -> Iterator[int]:
    """Fill the buffers with one batch after another; yield how many items each has."""
    cursor = c.create_string_buffer(max(key_bytes, 8))
    start: c.Array[c.c_char] | None = None
    count = c.c_uint32()
    while True:
        count.value = batch
        failed = lookup(start, cursor, keys, values, c.pointer(count))
        why = c.get_errno() if failed else 0
        if failed and why != errno.ENOENT:  # ENOENT marks the end
            raise OSError(why, os.strerror(why))
        found = min(count.value, batch)
        yield found
        if failed or not found:
            return
        start = cursor


def _pieces(raw: bytes, size: int, count: int) -> list[bytes]:
    return [raw[i * size : (i + 1) * size] for i in range(count)]
