"""A map of a loaded object, read with raw bytes for key and value."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass

from xctl_probe.ebpf.batches import read_batches


@dataclass(slots=True)
class Map:
    """By its descriptor, with the sizes that its header declares."""

    fd: int
    key_bytes: int
    value_bytes: int
    _lib: c.CDLL

    def lookup(self, key: bytes, copies: int = 1) -> bytes | None:
        """The value, or None; of a per-CPU map `copies` values on end, one for each CPU."""
        value = c.create_string_buffer(self.value_bytes * copies)
        if self._lib.bpf_map_lookup_elem(self.fd, key, value):
            return None
        return value.raw

    def delete(self, key: bytes) -> None:
        """Forget the key, if it is there."""
        self._lib.bpf_map_delete_elem(self.fd, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything in a hash.  Raises OSError."""
        return read_batches(self._lookup_batch, self.key_bytes, self.value_bytes)

    def _lookup_batch(self, *arguments: object) -> int:
        failed: int = self._lib.bpf_map_lookup_batch(self.fd, *arguments, None)
        return failed
