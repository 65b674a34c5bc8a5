"""Progress, for a person at a terminal: one line that changes.  In a guest, lines for its host."""

from __future__ import annotations

import shutil
import sys
import time


class Progress:
    """What is being measured now, and for how long already."""

    def __init__(self, *, lines: bool = False) -> None:
        self._lines = lines
        self._terminal = sys.stderr.isatty()
        self._begun = time.monotonic()

    def update(self, what: str) -> None:
        """Replace the line."""
        if self._lines:
            print(what, flush=True)
        if self._terminal:
            minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{f'{minutes}:{seconds:02} {what}'[:width]}")
            sys.stderr.flush()

    def report(self, what: str) -> None:
        """A line that stays."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
        print(what, flush=True)
