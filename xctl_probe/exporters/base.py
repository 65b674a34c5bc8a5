"""Protocol of the exporters."""

from __future__ import annotations

from typing import Protocol

from xctl_probe.exporters.records import Record


class Exporter(Protocol):
    """Renders a record: `ndjson.to_line`, `text.to_text`, `text.to_coloured_text`.

    The writer queues records and merges queued bandwidth, so an exporter holds no state.
    """

    def __call__(self, record: Record, /) -> bytes:
        """Return one line of ASCII with its newline, at most PIPE_BUF bytes (4096)."""
