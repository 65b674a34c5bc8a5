"""The statistics of a network interface, by the names of its driver: what `ethtool -S` prints.

SIOCETHTOOL of netdevice(7), include/uapi/linux/ethtool.h; reading needs no privilege.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Callable
from pathlib import Path

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_SET_OF_STATS = 1  # ETH_SS_STATS
_NAME_BYTES = 32  # ETH_GSTRING_LEN
_WORD_BYTES = 8
_IFREQ = struct.Struct("=16sQ16x")
_SSET_INFO = struct.Struct("=IIQI4x")
_GSTRINGS_HEAD = struct.Struct("=III4x")
_GSTATS_HEAD = struct.Struct("=II")
_NAMES_AT = 12  # the names follow the three words of struct ethtool_gstrings
# Kernels before 6.19 write as many values as there are now, however many were asked for: there
# has to be room for queues that are made after the number of values was read.
_SPARE = 4096
_DEEPEST = 4  # a VLAN on a bond has two levels below it

Call = Callable[[str, "array[int]"], None]


class EthtoolSocket:
    """Passes requests to the kernel, about the interfaces of this network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __call__(self, interface: str, request: array[int]) -> None:
        """Let the kernel answer in the words of `request`.  Raises OSError."""
        address, _ = request.buffer_info()
        fcntl.ioctl(self._socket, _SIOCETHTOOL, _IFREQ.pack(os.fsencode(interface), address))

    def close(self) -> None:
        """Give the descriptor back.  Safe to call twice."""
        self._socket.close()


class Statistics:
    """Those statistics of one interface whose names are wanted."""

    def __init__(self, interface: str, wanted: Callable[[str], bool], call: Call) -> None:
        self._interface = interface
        self._wanted = wanted
        self._call = call
        self._count = 0
        self._places: dict[str, int] = {}  # word of the answer by name
        self._answer = array("Q")

    def read(self) -> dict[str, int]:
        """Running totals by name; empty where the set of statistics changes just now.

        Raises OSError: EOPNOTSUPP where the interface has none, ENODEV where it is gone.
        """
        count = self._count_now()
        if count != self._count:
            self._learn(count)
        if not self._places:
            return {}
        _GSTATS_HEAD.pack_into(self._answer, 0, _GSTATS, self._count)
        self._call(self._interface, self._answer)
        if _GSTATS_HEAD.unpack_from(self._answer)[1] != self._count:
            self._count = 0
            return {}
        return {name: self._answer[place] for name, place in self._places.items()}

    def _count_now(self) -> int:
        """How many statistics the driver has; this depends on the queues in use."""
        head = array("Q", _SSET_INFO.pack(_GSSET_INFO, 0, 1 << _SET_OF_STATS, 0))
        self._call(self._interface, head)
        sets: int
        count: int
        _, _, sets, count = _SSET_INFO.unpack(head.tobytes())
        if not sets or not count:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return count

    def _learn(self, count: int) -> None:
        """Find where the wanted statistics are."""
        self._count, self._places = 0, {}
        names = _words(_NAMES_AT + (2 * count + _SPARE) * _NAME_BYTES)
        _GSTRINGS_HEAD.pack_into(names, 0, _GSTRINGS, _SET_OF_STATS, count)
        self._call(self._interface, names)
        raw = names.tobytes()
        if _GSTRINGS_HEAD.unpack_from(raw)[2] != count:
            return
        self._count = count
        self._answer = _words((2 * count + _SPARE) * _WORD_BYTES)
        for index in range(count):
            start = _NAMES_AT + index * _NAME_BYTES
            name = raw[start : start + _NAME_BYTES].partition(b"\0")[0].decode("ascii", "replace")
            if self._wanted(name):
                self._places[name] = index + 1


def physical(interface: str, root: Path = Path("/sys/class/net"), depth: int = 0) -> set[str]:
    """The interfaces below a VLAN or a bond; the interface itself where there are none."""
    try:
        below = [n[6:] for n in os.listdir(f"{root}/{interface}") if n.startswith("lower_")]
    except OSError:
        below = []
    if not below or depth == _DEEPEST:
        return {interface}
    return {name for one in below for name in physical(one, root, depth + 1)}


def _words(count_bytes: int) -> array[int]:
    return array("Q", bytes((count_bytes + _WORD_BYTES - 1) // _WORD_BYTES * _WORD_BYTES))
