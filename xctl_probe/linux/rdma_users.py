"""The process that alone has the queue pairs of an RDMA device, found when it is asked for.

Only an error of a port asks.  A host may have thousands of queue pairs, so their dump is searched
as bytes, not taken apart.
"""

from __future__ import annotations

import struct

from xctl_probe.linux.rdma_uapi import RES_PID, RES_TYPE

_HEADER = struct.Struct("=HH")  # length and type of an attribute
_U32 = struct.Struct("=I")
_PID_BYTES = _HEADER.size + _U32.size
_PID = _HEADER.pack(_PID_BYTES, RES_PID)
_TYPE = _HEADER.pack(_HEADER.size + 1, RES_TYPE)
# To search for bytes that end in 0, of which a message is full, takes twice as long.
_TYPE_BEGIN = _TYPE.rstrip(b"\0")
_MANAGEMENT = (b"\1", b"\0")  # GSI and SMI, which RoCE does not have
# Of one dump of a device, 1,500 queue pairs.  A longer one is searched at once.
_MOST_KEPT_BYTES = 1 << 17


class Users:
    """Whose the queue pairs of a device were at one dump: `add` takes each of its messages.

    `count`: how many the device had right before the dump, where the kernel knows.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self._kept: list[bytes] = []  # messages that were not searched yet
        self._kept_bytes = 0
        self._pid = b""  # the attribute; empty before a process was seen
        self._alone = True  # as far as is known

    def add(self, message: bytes) -> None:
        """Keep a message for a later search, unless it has shown another process already."""
        if not self._alone:
            return
        first, last = message.find(_PID), message.rfind(_PID)
        for at in (first, last) if first >= 0 else ():
            pid = message[at : at + _PID_BYTES]
            self._pid = self._pid or pid
            self._alone &= pid == self._pid
        self._kept.append(message)
        self._kept_bytes += len(message)
        if not self._alone or self._kept_bytes > _MOST_KEPT_BYTES:
            self._search()
            self._count = None  # is of all messages

    def sole(self) -> int | None:
        """The pid that all queue pairs have; those for management (SMI, GSI) do not count.

        None where another process or the kernel has some, and where there are none.
        """
        self._search()
        if not self._alone or len(self._pid) != _PID_BYTES:
            return None
        pid: int = _U32.unpack_from(self._pid, _HEADER.size)[0]
        return pid

    def _search(self) -> None:
        """Find whether the kept messages have another user, and drop them."""
        if not self._kept:
            return
        if self._alone and not self._are_all():
            self._alone = not any(_others(one, self._pid) for one in self._kept)
        self._kept.clear()
        self._kept_bytes = 0

    def _are_all(self) -> bool:
        """True where those of the process and for management are as many as the device has.

        To count entries takes twice as long, and those for management are the first that are made.
        """
        if self._count is None or not self._pid:
            return False
        others = self._count - sum(message.count(self._pid) for message in self._kept)
        for message in self._kept:
            others -= _managing(message, others)
        return others == 0


def _managing(message: bytes, most: int) -> int:
    """The entries for management, up to `most`."""
    found = 0
    for kind in _MANAGEMENT:
        at = -1
        while found < most and (at := message.find(_TYPE + kind, at + 1)) >= 0:
            found += 1
    return found


def _others(message: bytes, pid: bytes) -> bool:
    """True where an entry is neither of this process nor for management."""
    # Each entry has one type, and the pid of its process unless it is the kernel's.
    others = message.count(_TYPE_BEGIN) - (message.count(pid) if pid else 0)
    return _managing(message, others) != others
