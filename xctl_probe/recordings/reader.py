"""Reads a recording: the lines of one interval after another, from the oldest file."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xctl_probe.exporters.records import Record
from xctl_probe.recordings.directory import File, files, open_to_read, read
from xctl_probe.recordings.members import MAGIC
from xctl_probe.recordings.parse import to_record

_CHUNK_BYTES = 1 << 16
_MOST_BYTES = 64 << 20  # of one member
_GZIP = 31
_TS = re.compile(rb'\{"ts":([0-9]{1,15}),')


@dataclass(slots=True)
class Interval:
    """The lines of one interval; `ts_ms` is the time of its records (Unix epoch)."""

    ts_ms: int
    lines: list[bytes] = field(default_factory=list)

    def records(self, wanted: Callable[[bytes], bool] | None = None) -> Iterator[Record]:
        """Yield the records, of the wanted lines only; a line of an unknown kind is left out."""
        for line in self.lines:
            if wanted is None or wanted(line):
                record = to_record(line)
                if record is not None:
                    yield record


class Recording:
    """A recording, which a probe may be writing.  `damaged` counts what could not be read.

    Raises UsageError where there is none, or where it belongs to another user.
    """

    def __init__(self, path: Path) -> None:
        self._directory = open_to_read(path)
        self.damaged = 0

    def close(self) -> None:
        """Close the directory.  Safe to call twice."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def intervals(self, since_ms: int = 0, *, lead: bool = False) -> Iterator[Interval]:
        """Yield the intervals of this time (Unix epoch) and later ones.  Raises OSError.

        With `lead`, earlier ones of the same file come first: it begins with the processes of jobs.
        """
        first_ms = 0 if lead else since_ms
        current: Interval | None = None
        for line in self._lines(since_ms):
            found = _TS.match(line)
            if found is None:
                self.damaged += 1
                continue
            ts_ms = int(found[1])
            if current is None or ts_ms != current.ts_ms:
                if current is not None and current.ts_ms >= first_ms:
                    yield current
                current = Interval(ts_ms)
            current.lines.append(line)
        if current is not None and current.ts_ms >= first_ms:
            yield current

    def _lines(self, since_ms: int) -> Iterator[bytes]:
        known = files(self._directory)
        for file in known:
            # The time of the file is that of its last record, rounded up by the file system.
            if file.written_ms < since_ms:
                continue
            for member in self._members(file, newest=file is known[-1]):
                yield from member.splitlines()

    def _members(self, file: File, *, newest: bool) -> Iterator[bytes]:
        data = read(self._directory, file.name)
        at = 0
        while at < len(data):
            member, after = _member(data, at)
            if member is not None:
                yield member
            elif after >= len(data) and newest:
                return  # it is being written, or its probe was killed during the write
            else:
                self.damaged += 1
                after = data.find(MAGIC, at + 1)
            at = after if after > at else len(data)


def _member(data: bytes, start: int) -> tuple[bytes | None, int]:
    """Return the content of the member at `start`, None where it is damaged, and where it stops."""
    inflater = zlib.decompressobj(wbits=_GZIP)
    parts: list[bytes] = []
    size, at = 0, start
    try:
        while not inflater.eof and at < len(data) and size <= _MOST_BYTES:
            chunk = data[at : at + _CHUNK_BYTES]
            parts.append(inflater.decompress(chunk))
            size += len(parts[-1])
            at += len(chunk)
    except zlib.error:
        return None, at
    if not inflater.eof:
        return None, at
    return b"".join(parts), at - len(inflater.unused_data)
