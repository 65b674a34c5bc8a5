"""Which processes the kernel is asked about: where else data comes to them while they wait."""

from __future__ import annotations

import struct
from contextlib import suppress

from xctl_probe.ebpf.programs import Map

MOST_ASKED = 1_024  # max_entries of the map

_PID = struct.Struct("=I")
_YES = b"\1"


class AskedProcesses:
    """The map `asked_processes`."""

    def __init__(self, table: Map) -> None:
        self._table = table
        self._asked: set[int] = set()

    def ask(self, pids: set[int]) -> set[int]:
        """Ask about these from the next iteration on, and about no others.

        Returns those that are asked about: the others find no room.
        """
        for pid in self._asked - pids:
            self._table.delete(_PID.pack(pid))
        self._asked &= pids
        for pid in pids - self._asked:
            with suppress(OSError):
                self._table.update(_PID.pack(pid), _YES)
                self._asked.add(pid)
        return self._asked
