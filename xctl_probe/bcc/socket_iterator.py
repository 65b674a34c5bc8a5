"""Walks over all sockets: user space has their addresses, the kernel looks at each.

A hash cannot be iterated in the kernel without BTF (5.13's bpf_for_each_map_elem included), and
what is asked of a socket is in the kernel's memory.  So the keys are read in batches, and a
function of the probe's own process is called with each: the uprobe on it runs the same visit_sock()
as the iterators of the compiled objects.  A socket that ends between the two is not in the map
any more, and is not looked at.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable
from dataclasses import dataclass

from xctl_probe.bcc.maps import BccMap
from xctl_probe.ebpf.programs import EventQueue

LIBRARY, FUNCTION = b"c", b"labs"  # takes a number, does nothing, and nobody else calls it
_BATCH = 512  # sockets, of two records each: less than `walk` has room for


def trigger() -> Callable[[int, int], object]:
    """The function with the uprobe on it: an address, and whether to take the counts."""
    function = c.CDLL(None)[FUNCTION.decode()]
    function.restype, function.argtypes = None, (c.c_uint64, c.c_int)
    return function


@dataclass(frozen=True, slots=True)
class UprobeIterator:
    """One of the two walks; `drain`: it also takes the counts."""

    sockets: BccMap
    written: EventQueue
    call: Callable[[int, int], object]
    drain: bool

    def run(self) -> bytes:
        """What the program wrote.  Raises OSError."""
        chunks: list[bytes] = []
        call, drain = self.call, int(self.drain)
        for count, (key, _) in enumerate(self.sockets.items(), 1):
            call(int.from_bytes(key, "little"), drain)
            if count % _BATCH == 0:
                chunks += self.written.records()
        chunks += self.written.records()
        return b"".join(chunks)
