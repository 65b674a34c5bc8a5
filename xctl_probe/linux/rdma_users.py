"""The process that alone has the queue pairs of an RDMA device, found when it is asked for.

Only an error of a port asks.  A host may have thousands of queue pairs, so their dump is searched
as bytes, not taken apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice, pairwise

from xctl_probe.linux.rdma_netlink import RES_PID, RES_QP, RES_QP_ENTRY, RES_TYPE

_HEADER = struct.Struct("=HH")  # length and type of an attribute
_U32 = struct.Struct("=I")
_WORD_BYTES = 4  # attributes begin at multiples of this
_PID_BYTES = _HEADER.size + _U32.size
_PID = _HEADER.pack(_PID_BYTES, RES_PID)
_TYPE = _HEADER.pack(_HEADER.size + 1, RES_TYPE)
_MANAGEMENT = (b"\0", b"\1")  # SMI and GSI
# Of one dump of a device, 1,500 queue pairs.  A longer one is searched at once.
_MOST_KEPT_BYTES = 1 << 17
# Entries before a run that may differ from it, as those for management and datagrams, and layouts
# that take turns in it.
_MOST_BEFORE, _MOST_IN_TURN = 4, 2


class Users:
    """Whose the queue pairs of a device were at one dump: `add` takes each of its messages."""

    def __init__(self) -> None:
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
        self._alone = self._alone and not any(_others(one, self._pid) for one in self._kept)
        self._kept.clear()
        self._kept_bytes = 0


def _others(message: bytes, pid: bytes) -> bool:
    """True where an entry is neither of this process nor for management."""
    if pid:
        message = _without_run(message, pid)
    # Each entry has one type, and the pid of its process unless it is the kernel's.
    others = message.count(_TYPE) - (message.count(pid) if pid else 0)
    return others != 0 and others != sum(message.count(_TYPE + kind) for kind in _MANAGEMENT)


def _without_run(message: bytes, pid: bytes) -> bytes:
    """A message without a run of entries of the same layouts that all have this attribute.

    Most queue pairs of a process are alike, or of two types in turn.  A column of them is compared
    in a tenth of the time that a search takes.
    """
    entries: list[int] = []
    for behind in islice(_entries(message), _MOST_BEFORE + _MOST_IN_TURN + 1):
        for group in (entries[-size:] for size in range(1, _MOST_IN_TURN + 1)):
            if group and (end := _run_end(message, [*group, behind], pid)):
                return message[: group[0]] + message[end:]
        entries.append(behind)
    return message


def _entries(message: bytes) -> Iterator[int]:
    """Where the queue pairs of a message begin."""
    for kind, at in _attributes(message, 0):
        if kind == RES_QP:
            for inner, begin in _attributes(message, at + _HEADER.size):
                if inner != RES_QP_ENTRY:
                    return
                yield begin


def _attributes(message: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Type and place of each attribute from `at`, up to the first that does not fit."""
    while at + _HEADER.size <= len(message):
        length, kind = _HEADER.unpack_from(message, at)
        if length < _HEADER.size or at + length > len(message):
            return
        yield kind, at
        at += (length + _WORD_BYTES - 1) & -_WORD_BYTES


def _run_end(message: bytes, group: list[int], pid: bytes) -> int:
    """Return the end of the repeated groups of entries that all have this attribute; 0: none.

    `group` has the places of its entries, and of the one behind them.
    """
    begin, step = group[0], group[-1] - group[0]
    end = begin + (len(message) - begin) // step * step
    columns = group[:-1]  # the headers of entries, so that the next ones are where they should be
    for at, behind in pairwise(group):
        place = message.find(pid, at, behind)
        if place < 0 or place % _WORD_BYTES:
            return 0
        columns += (place, place + _HEADER.size)
    if len(message) % _WORD_BYTES:
        return 0
    words = memoryview(message).cast("I")
    for at in columns:
        column = words[at // _WORD_BYTES : end // _WORD_BYTES : step // _WORD_BYTES]
        if column[1:] != column[:-1]:
            return 0
    return end
