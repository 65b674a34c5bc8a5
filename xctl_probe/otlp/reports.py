"""Lines on stderr about the receiver: one for each change of its state."""

from __future__ import annotations

import threading
from collections.abc import Callable

_MOST_LINES = 12  # of a receiver that comes and goes; stderr has 4 KiB in all


class Reports:
    """Reports when something begins to fail, and when all works again."""

    def __init__(self, name: str, report: Callable[[str], None]) -> None:
        self._name = name
        self._report = report
        self._left = _MOST_LINES
        self._problems: dict[str, str] = {}  # by what fails; the receiver itself is ""
        self._lock = threading.Lock()
        self._dropped = 0

    def dropped(self, count: int) -> None:
        """Count what was dropped, on any thread."""
        with self._lock:
            self._dropped += count

    def failed(self, what: str, problem: str, effect: str) -> None:
        """Note a failure of a path, or of the receiver (empty)."""
        if what:  # it answers
            self._problems.pop("", None)
        if what not in self._problems:
            self._line(f"{what}: {problem}" if what else problem, effect)
        self._problems[what] = problem

    def worked(self, path: str) -> None:
        """Note that a request to a path was taken, by a receiver that is there."""
        before = len(self._problems)
        self._problems.pop("", None)
        self._problems.pop(path, None)
        if before and not self._problems:
            with self._lock:
                count, self._dropped = self._dropped, 0
            lost = f"{count} events or points were dropped" if count else "nothing was dropped"
            self._line("it takes all again", lost)

    def left(self, count: int) -> None:
        """Report the events that are not sent at the end of the run."""
        if count:
            self._line("the run is over", f"{count} events were not sent")

    def _line(self, what: str, effect: str) -> None:
        if self._left:
            self._left -= 1
            self._report(f"--otlp {self._name}: {what}; {effect}")
