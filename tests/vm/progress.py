"""What the person at the terminal sees while a guest takes its minute."""

from __future__ import annotations

import shutil
import sys
import time

QUIET_S = 30.0  # in a log, a sign of life this often


class Progress:
    """One line that is rewritten on a terminal; in a log, a line now and then."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._last = time.monotonic()

    def report(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._last = time.monotonic()
        print(text, flush=True)

    def update(self, text: str) -> None:
        """What is going on; on a terminal, the next one overwrites it."""
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(f"\r\x1b[K{text[:width]}")
            sys.stdout.flush()
        elif time.monotonic() - self._last > QUIET_S:
            self.report(f"  {text}")

    def clear(self) -> None:
        """Take the overwritten line away."""
        if self._live:
            sys.stdout.write("\r\x1b[K")


class Stopwatch:
    """Seconds since it was made, monotonic."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start
