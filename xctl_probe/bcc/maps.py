"""Maps through libbcc, which needs no libbpf of a certain version."""

from __future__ import annotations

import ctypes as c
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xctl_probe.ebpf.batches import read_batches
from xctl_probe.errors import SourceUnavailable

# enum bpf_map_type, and a flag, in include/uapi/linux/bpf.h
HASH, ARRAY, PERCPU_ARRAY, LRU_HASH, QUEUE, RINGBUF = 1, 2, 6, 9, 22, 27
NO_PREALLOC = 1

_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")
_CPU_DIGITS = 5
# Errors of a kernel without a command of bpf(2), or of a map type without it.
_NO_SUCH_COMMAND = (errno.EINVAL, errno.EOPNOTSUPP, 524)  # 524: ENOTSUPP


class Library:
    """Functions of libbcc.so with their types (libbpf.h of bcc)."""

    def __init__(self, shared: c.CDLL) -> None:
        pointer, number = c.c_void_p, c.c_int

        def function(name: str, *arguments: type) -> c._NamedFuncPointer:
            # A subscript returns a new function object: bcc declares other types for some.
            found = shared[name]
            found.restype, found.argtypes = number, arguments
            return found

        try:
            self.create = function(
                "bcc_create_map", number, c.c_char_p, number, number, number, number
            )
            self.lookup = function("bpf_lookup_elem", number, pointer, pointer)
            self.update = function("bpf_update_elem", number, pointer, pointer, c.c_uint64)
            self.delete = function("bpf_delete_elem", number, pointer)
            self.take = function("bpf_lookup_and_delete", number, pointer, pointer)
            self.first_key = function("bpf_get_first_key", number, pointer, c.c_size_t)
            self.next_key = function("bpf_get_next_key", number, pointer, pointer)
            self.lookup_batch = function(
                "bpf_lookup_batch", number, *[pointer] * 4, c.POINTER(c.c_uint32)
            )
            self.info = function("bpf_obj_get_info", number, pointer, c.POINTER(c.c_uint32))
            self.destroy = function("bpf_module_destroy", pointer)
        except AttributeError as missing:
            msg = f"this bcc is too old ({missing}): 0.16 or newer is needed"
            raise SourceUnavailable(msg) from None


@dataclass(frozen=True, slots=True)
class BccMap:
    """A map, by its descriptor."""

    fd: int
    key_bytes: int
    value_bytes: int
    _lib: Library

    def lookup(self, key: bytes, copies: int = 1) -> bytes | None:
        """Return the value or None; of a per-CPU map, `copies` values, one for each CPU."""
        value = c.create_string_buffer(self.value_bytes * copies)
        return None if self._lib.lookup(self.fd, key, value) else value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value.  Raises OSError."""
        if self._lib.update(self.fd, key, value, 0):
            raise _os_error()

    def delete(self, key: bytes) -> None:
        """Delete the key, if it exists."""
        self._lib.delete(self.fd, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all items of a hash, in batches since Linux 5.6.  Raises OSError."""
        batches = read_batches(
            partial(self._lib.lookup_batch, self.fd), self.key_bytes, self.value_bytes
        )
        try:
            first = next(batches, None)
        except OSError as refusal:
            if refusal.errno not in _NO_SUCH_COMMAND:
                raise
            yield from self._one_by_one()
            return
        if first is not None:
            yield first
            yield from batches

    def _one_by_one(self) -> Iterator[tuple[bytes, bytes]]:
        key = c.create_string_buffer(self.key_bytes)
        failed = self._lib.first_key(self.fd, key, self.key_bytes)
        while not failed:
            now = key.raw
            value = self.lookup(now)
            # The next key is read before the caller may delete this one: without it, the
            # iteration would restart.
            failed = self._lib.next_key(self.fd, now, key)
            if value is not None:
                yield now, value


@dataclass(frozen=True, slots=True)
class Queue:
    """Event queue of kernels without a ring buffer.  It has no descriptor to wait for."""

    table: BccMap
    entries: int
    fd: int | None = None

    def records(self) -> Iterator[bytes]:
        """Yield the events since the last call."""
        body = c.create_string_buffer(self.table.value_bytes)
        for _ in range(self.entries):  # bounded: events may arrive as fast as they are read
            if self.table._lib.take(self.table.fd, None, body):
                return
            yield body.raw

    def use(self) -> None:
        """Return None: the kernel does not count what waits in a queue map."""

    def close(self) -> None:
        """Do nothing: the descriptor is closed with those of the other maps."""


def make(
    lib: Library, kind: int, name: str, key: int, value: int, entries: int, *, grows: bool = True
) -> BccMap:
    """Create a map; with `grows`, hashes allocate memory as they fill.  Raises OSError."""
    flags = NO_PREALLOC if kind == HASH and grows else 0
    fd = lib.create(kind, name.encode(), key, value, entries, flags)
    if fd < 0:
        raise _os_error()
    return BccMap(fd, key, value, lib)


def possible_cpus(path: Path = _POSSIBLE_CPUS) -> int:
    """Return the number of values of a per-CPU map: the last CPU of a list like 0-3,8-11, plus one.

    Raises SourceUnavailable where the kernel has no such list.
    """
    try:
        last = path.read_bytes().replace(b",", b"-").split(b"-")[-1].strip()
    except OSError:
        last = b""
    if not last.isdigit() or len(last) > _CPU_DIGITS:
        raise SourceUnavailable(f"{path} has no list of CPUs: mount /sys")
    return int(last) + 1


def _os_error() -> OSError:
    number = c.get_errno()
    return OSError(number, os.strerror(number))
