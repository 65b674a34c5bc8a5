"""Whether TCP connections were made or segments moved in a network namespace.  proc(5), snmp.

The kernel counts both in /proc/net/snmp.  A read costs 16 µs.  A dump of sock_diag costs 200 to
400 µs even without sockets, because it visits all buckets of the hash table, 262,144 of them on a
host with 32 GiB.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

_PATH = "/proc/thread-self/net/snmp"  # the descriptor keeps the namespace
_READ_BYTES = 8_192
_LINE = b"\nTcp:"  # one of names, one of values; others come before
_COUNTERS = (b"ActiveOpens", b"PassiveOpens", b"InSegs", b"OutSegs")


class Activity(NamedTuple):
    """What may have changed since the last `take`."""

    opened: bool  # connections were made
    moved: bool  # segments were sent or received


class TcpActivity:
    """Compares the counters of the namespace in which it is created."""

    def __init__(self, path: str = _PATH) -> None:
        self._fd: int | None = None
        self._last: tuple[int, int] | None = None
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # then everything may have changed
            return
        self.take()

    def close(self) -> None:
        """Close the descriptor.  Safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def take(self) -> None:
        """Compare later reads with the counters as they are now."""
        self._last = self._read()

    def changes(self) -> Activity:
        """Return what has changed since `take`; where that is unknown, that segments have moved."""
        last, now = self._last, self._read()
        if last is None or now is None:
            return Activity(opened=False, moved=True)
        return Activity(opened=now[0] != last[0], moved=now[1] != last[1])

    def _read(self) -> tuple[int, int] | None:
        if self._fd is None:
            return None
        try:
            return counters(os.pread(self._fd, _READ_BYTES, 0))
        except OSError:
            return None


def counters(snmp: bytes) -> tuple[int, int] | None:
    """Return connections made and segments moved, None where a counter is not there.

    It runs many times a second, in cold caches: nothing but the two lines of TCP is taken apart.
    """
    names, _, rest = snmp.partition(_LINE)[2].partition(_LINE)
    values = rest.partition(b"\n")[0].split()
    try:
        a, b, c, d = _places(names)
        return int(values[a]) + int(values[b]), int(values[c]) + int(values[d])
    except (ValueError, IndexError):
        return None


@lru_cache(maxsize=1)
def _places(names: bytes) -> list[int]:
    """Return the places of the counters.  Raises ValueError where one is not there."""
    words = names.split()
    return [words.index(name) for name in _COUNTERS]
