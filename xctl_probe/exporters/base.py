"""What a format of the output implements."""

from __future__ import annotations

from typing import Protocol

from xctl_probe.exporters.records import Record


class Exporter(Protocol):
    """Renders a record.  `ndjson.to_line`, `text.to_text` and `text.to_coloured_text` are such.

    The writer keeps records until stdout takes them and merges bandwidth that waits, so an
    exporter holds no state.
    """

    def __call__(self, record: Record, /) -> bytes:
        """One line of ASCII that ends in a newline, at most PIPE_BUF bytes (4096)."""
