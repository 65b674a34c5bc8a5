"""Parser of /proc/<pid>/fdinfo/<fd> of an epoll instance.  proc(5): fdinfo.

fs/eventpoll.c, ep_show_fdinfo().  `ino` exists since Linux 4.13.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ENTRY = re.compile(
    rb"^tfd:\s*(\d{1,10})\s+events:\s*([0-9a-f]+)(?:.*?\bino:\s*([0-9a-f]+))?", re.MULTILINE
)


class Entry(NamedTuple):
    """Entry of an interest list: descriptor, EPOLL* events, inode (0: unknown)."""

    fd: int
    events: int
    inode: int


def entries(text: bytes) -> Iterator[Entry]:
    """Yield the entries of an interest list; lines of another form are skipped."""
    for fd, events, inode in _ENTRY.findall(text):
        yield Entry(int(fd), int(events, 16), int(inode or b"0", 16))
