"""stderr: a line at start, then next to nothing.

A consumer that starts the probe as its child may never read the child's stderr, and a full
pipe blocks whoever writes to it, for ever.  So unless stderr is a terminal, all that is ever
written to it stays below a budget, and nothing is written that would have to wait.
"""

from __future__ import annotations

import os
import select

from xctl_probe.text import printable

BUDGET_BYTES = 4096 - 256  # in the life of the process, with room for a last error


class Diagnostics:
    """Lines for the person at the terminal, or for the log."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._terminal = os.isatty(fd)
        self._left = BUDGET_BYTES

    def say(self, message: str) -> None:
        """Write one line, or nothing when that could block or exceeds the budget."""
        line = f"xctl-probe-network: {printable(message)}\n".encode()
        if not self._terminal:
            if len(line) > self._left:
                return
            self._left -= len(line)
        poll = select.poll()
        try:
            poll.register(self._fd, select.POLLOUT)
            if any(events & select.POLLOUT for _, events in poll.poll(0)):
                os.write(self._fd, line)
        except OSError:
            return  # stderr is closed: there is nobody to tell
