"""Protocols of the exporters: of lines, and of what takes the records beside stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xctl_probe.exporters.records import Record


class Exporter(Protocol):
    """Renders a record: `ndjson.to_line`, `text.to_text`, `text.to_coloured_text`.

    The writer queues records and merges queued bandwidth, so an exporter holds no state.
    """

    def __call__(self, record: Record, /) -> bytes:
        """Return one line of ASCII with its newline, at most PIPE_BUF bytes (4096)."""


class Receiver(Protocol):
    """Takes the records of each interval beside stdout, and never makes the loop wait.

    `where` is the place of what it drops, in `PROBE_LOST`.  `takes_all`: also what
    stdout leaves out: the bandwidth of a process below `--min-bw`, its load below 1 %, and how many
    records stdout dropped.
    """

    where: str
    takes_all: bool

    def put(self, records: Sequence[Record]) -> None:
        """Queue the records of one interval."""

    def dropped(self) -> int:
        """Return the number of records that it dropped since the last call."""
