"""What adds to the events of another source."""

from __future__ import annotations

from typing import Any

from xctl_probe.events import Source


class Around:
    """A source as it is; a subclass adds to what it drains, and closes it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name

    def __getattr__(self, name: str) -> Any:  # what only some sources have: the attach variant
        return getattr(self._source, name)

    @property
    def description(self) -> str:
        """Text for the start line: what the source observes."""
        return self._source.description

    def fileno(self) -> int | None:
        """Return the descriptor of the source; what is added is read by the clock."""
        return self._source.fileno()

    def poll(self, now_ns: int) -> int:
        """Do the work of the source between two drains."""
        return self._source.poll(now_ns)
