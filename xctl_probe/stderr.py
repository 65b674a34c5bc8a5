"""Messages on stderr, within a byte budget.

A consumer that starts the probe as its child may never read the child's stderr, and a write to a
full pipe blocks forever.  Unless stderr is a terminal, the total stays below a budget, and a write
that would block is left out.
"""

from __future__ import annotations

import os
import select

from xctl_probe.exporters.sanitize import printable

BUDGET_BYTES = 4096  # over the life of the process
_LAST_WORD_BYTES = 512  # of these, reserved for the error that stops the probe
_LINE_BYTES = 1024


class Diagnostics:
    """Writer of messages for a terminal or a log."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._terminal = os.isatty(fd)
        self._left = BUDGET_BYTES - _LAST_WORD_BYTES

    def report(self, message: str) -> None:
        """Write one line, cut to the rest of the budget; nothing if the write would block."""
        room = _LINE_BYTES if self._terminal else min(self._left, _LINE_BYTES)
        line = _line(message, room)
        self._left -= len(line)
        self._write(line)

    def fail(self, message: str) -> None:
        """Write the error that stops the probe, from the reserve; nothing if it would block."""
        self._write(_line(message, _LINE_BYTES if self._terminal else _LAST_WORD_BYTES))

    def _write(self, line: bytes) -> None:
        poll = select.poll()
        try:
            poll.register(self._fd, select.POLLOUT)
            if line and any(events & select.POLLOUT for _, events in poll.poll(0)):
                os.write(self._fd, line)
        except OSError:
            return  # stderr is closed


def _line(message: str, room: int) -> bytes:
    """Return one line of at most `room` bytes, empty where not even its beginning fits."""
    line = f"xctl-probe-network: {printable(message)}"
    if len(line) >= room:
        line = line[: max(room - len(" ...\n"), 0)] + " ..."
    return f"{line}\n".encode() if len(line) < room else b""
