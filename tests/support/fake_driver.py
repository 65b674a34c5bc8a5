"""A driver of network interfaces that answers ethtool requests as the kernel does."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

_GSTRINGS, GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37


class FakeDriver:
    """`statistics` by interface: names and values, in the order of the driver.

    `strict`: refuse requests whose number of statistics is not that of now, as 6.19 does.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.statistics: dict[str, dict[str, int]] = {}
        self.strict = strict
        self.calls = 0
        self.error: int | None = None
        self.before_values: Callable[[], None] = lambda: None  # what happens between two requests

    def __call__(self, interface: str, request) -> None:
        self.calls += 1
        if self.error or interface not in self.statistics:
            code = self.error or errno.ENODEV
            raise OSError(code, os.strerror(code))
        command, asked = struct.unpack_from("=II", request)
        if command == GSTATS:
            self.before_values()
        of_interface = self.statistics[interface]
        if command == _GSSET_INFO:
            struct.pack_into("=QI", request, 8, 2 if of_interface else 0, len(of_interface))
            return
        assert command in (_GSTRINGS, GSTATS)
        if command == _GSTRINGS:
            _, _, asked = struct.unpack_from("=III", request)
        count = 0 if self.strict and asked != len(of_interface) else len(of_interface)
        struct.pack_into("=I", request, 8 if command == _GSTRINGS else 4, count)
        for index, (name, value) in enumerate(list(of_interface.items())[:count]):
            if command == _GSTRINGS:
                struct.pack_into("=32s", request, 12 + 32 * index, name.encode())
            else:
                struct.pack_into("=Q", request, 8 + 8 * index, value)
