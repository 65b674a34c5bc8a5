"""Memory of all sockets: one row each, found by the cookie of the kernel."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from xctl_probe.fallback.message_arrays import Records
from xctl_probe.fallback.row import ROW, Ints
from xctl_probe.stalls.request_history import RequestHistory

_LEAST = 64  # rows
_GROWTH = 5 / 4
_BYTES = np.dtype((np.void, ROW.itemsize))


class Rows:
    """Rows of `ROW`; each keeps its number until it is removed, and numbers are used again.

    `peers` has the request/reply history of the owner's user with the peer of each connection.
    """

    def __init__(self) -> None:
        self.array = _zeros(_LEAST)
        self.peers: list[RequestHistory | None] = [None] * _LEAST
        self._free = list(range(_LEAST - 1, -1, -1))
        # By cookie, in its order.
        self._cookies = np.zeros(0, np.uint64)
        self._numbers: Ints = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def numbers(self) -> Ints:
        """Numbers of all rows that are in use."""
        return self._numbers

    def find(self, cookies: NDArray[np.uint64]) -> Ints:
        """Return the numbers of the rows with these cookies, -1 where there is none."""
        if not len(self._cookies):
            return np.full(len(cookies), -1, np.int64)
        places = np.searchsorted(self._cookies, cookies)
        places[places == len(self._cookies)] = 0
        return np.where(self._cookies[places] == cookies, self._numbers[places], -1)

    def take(self, numbers: Ints) -> Records:
        """Return copies of these rows."""
        return self.array.take(numbers)

    def put(self, numbers: Ints, rows: Records) -> None:
        """Replace these rows.  To assign records would copy field by field, 30 times slower."""
        self.array.view(_BYTES)[numbers] = rows.view(_BYTES)

    def add(self, rows: Records) -> Ints:
        """Add rows with cookies that are not there yet, each once; return their numbers."""
        while len(self._free) < len(rows):
            self._grow()
        numbers = np.array([self._free.pop() for _ in range(len(rows))], np.int64)
        self.put(numbers, rows)
        order = np.argsort(rows["cookie"])
        cookies = rows["cookie"][order]
        places = np.searchsorted(self._cookies, cookies)
        self._cookies = np.insert(self._cookies, places, cookies)
        self._numbers = np.insert(self._numbers, places, numbers[order])
        return numbers

    def note_peer(self, number: int, peer: RequestHistory) -> None:
        """Keep the history of the peer of a connection."""
        self.peers[number] = peer
        self.array["peer"][number] = id(peer)

    def remove(self, numbers: Ints) -> None:
        """Remove rows: their cookies are not found any more, their memory is used again."""
        self.hide(numbers)
        for number in numbers.tolist():
            self.peers[number] = None
            self._free.append(number)
        self.put(numbers, np.zeros(len(numbers), ROW))

    def hide(self, numbers: Ints) -> None:
        """Let the cookies of these rows be found no more; the rows stay until they are removed."""
        if len(numbers):
            kept = ~np.isin(self._numbers, numbers)
            self._cookies, self._numbers = self._cookies[kept], self._numbers[kept]

    def _grow(self) -> None:
        size = len(self.array)
        more = max(int(size * _GROWTH), size + _LEAST)
        array = _zeros(more)
        array[:size] = self.array
        self.array = array
        self.peers += [None] * (more - size)
        self._free[:0] = range(more - 1, size - 1, -1)


def _zeros(size: int) -> Records:
    """Return empty rows that a child of this process does not get.

    A helper would keep each as it was at the fork: as much memory once more.
    """
    memory = mmap.mmap(-1, size * ROW.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_DONTFORK)
    rows: Records = np.frombuffer(memory, ROW)
    return rows
