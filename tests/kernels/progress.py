"""What the person at the terminal sees while a guest takes its minute."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line that is rewritten on a terminal; elsewhere only what `say` prints."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, flush=True)

    def update(self, text: str) -> None:
        """A line that the next one overwrites."""
        if self._live:
            sys.stdout.write(f"\r\x1b[K{text[:100]}")
            sys.stdout.flush()

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
