"""Iteration over all sockets, driven from user space.

Without BTF, a hash cannot be iterated in the kernel (bpf_for_each_map_elem of 5.13 included), and
the fields of a socket are in the kernel's memory.  Therefore the keys are read in batches, and a
function of the probe's own process is called for each: the uprobe on it runs the same visit_sock()
as the iterators of the compiled objects.  A socket that closes in between is no longer in the map,
and is skipped.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable
from dataclasses import dataclass

from xctl_probe.bcc.maps import BccMap
from xctl_probe.ebpf.programs import EventQueue

LIBRARY, FUNCTION = b"c", b"labs"  # takes a number, has no effect, and is not used elsewhere
_BATCH = 512  # sockets, of two events each: less than `iter_output` has room for


def trigger() -> Callable[[int, int], object]:
    """Return the function with the uprobe: of an address, and whether to collect the counts."""
    function = c.CDLL(None)[FUNCTION.decode()]
    function.restype, function.argtypes = None, (c.c_uint64, c.c_int)
    return function


@dataclass(frozen=True, slots=True)
class UprobeIterator:
    """One of the two iterations; `drain`: it also collects the counts."""

    sockets: BccMap
    written: EventQueue
    call: Callable[[int, int], object]
    drain: bool

    def run(self) -> bytes:
        """Run the iteration; return what the program wrote.  Raises OSError."""
        chunks: list[bytes] = []
        call, drain = self.call, int(self.drain)
        for count, (key, _) in enumerate(self.sockets.items(), 1):
            call(int.from_bytes(key, "little"), drain)
            if count % _BATCH == 0:
                chunks += self.written.records()
        chunks += self.written.records()
        return b"".join(chunks)
