"""Maps of a loaded object; keys and values are raw bytes."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator
from dataclasses import dataclass

from xctl_probe.ebpf.batches import read_batches


@dataclass(slots=True)
class Map:
    """A map, by its descriptor and the sizes of key and value."""

    fd: int
    key_bytes: int
    value_bytes: int
    _lib: c.CDLL

    def lookup(self, key: bytes, copies: int = 1) -> bytes | None:
        """Return the value or None; of a per-CPU map, `copies` values, one for each CPU."""
        value = c.create_string_buffer(self.value_bytes * copies)
        if self._lib.bpf_map_lookup_elem(self.fd, key, value):
            return None
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value.  Raises OSError."""
        if self._lib.bpf_map_update_elem(self.fd, key, value, 0):
            raise OSError(c.get_errno(), os.strerror(c.get_errno()))

    def delete(self, key: bytes) -> None:
        """Delete the key, if it exists."""
        self._lib.bpf_map_delete_elem(self.fd, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all items of a hash.  Raises OSError."""
        return read_batches(self._lookup_batch, self.key_bytes, self.value_bytes)

    def _lookup_batch(self, *arguments: object) -> int:
        failed: int = self._lib.bpf_map_lookup_batch(self.fd, *arguments, None)
        return failed
