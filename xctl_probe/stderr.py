"""stderr: a line at start, then next to nothing.

A consumer that starts the probe as its child may never read the child's stderr, and a full
pipe blocks whoever writes to it, for ever.  So unless stderr is a terminal, all that is ever
written to it stays below a budget, and nothing is written that would have to wait.
"""

from __future__ import annotations

import os
import select

from xctl_probe.exporters.sanitize import printable

BUDGET_BYTES = 4096  # in the life of the process
_LAST_WORD_BYTES = 512  # of it, kept for the error that ends the probe
_LINE_BYTES = 1024


class Diagnostics:
    """Lines for the person at the terminal, or for the log."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._terminal = os.isatty(fd)
        self._left = BUDGET_BYTES - _LAST_WORD_BYTES

    def report(self, message: str) -> None:
        """Write one line, shortened to what is left; nothing when that could block."""
        room = _LINE_BYTES if self._terminal else min(self._left, _LINE_BYTES)
        line = _line(message, room)
        self._left -= len(line)
        self._write(line)

    def fail(self, message: str) -> None:
        """The last word before the probe ends: always said, if that does not block."""
        self._write(_line(message, _LINE_BYTES if self._terminal else _LAST_WORD_BYTES))

    def _write(self, line: bytes) -> None:
        poll = select.poll()
        try:
            poll.register(self._fd, select.POLLOUT)
            if line and any(events & select.POLLOUT for _, events in poll.poll(0)):
                os.write(self._fd, line)
        except OSError:
            return  # stderr is closed: there is nobody to tell


def _line(message: str, room: int) -> bytes:
    """One line of at most `room` bytes; nothing where not even its beginning fits."""
    line = f"xctl-probe-network: {printable(message)}"
    if len(line) >= room:
        line = line[: max(room - len(" ...\n"), 0)] + " ..."
    return f"{line}\n".encode() if len(line) < room else b""
