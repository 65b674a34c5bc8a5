"""Recordings made without a probe: intervals of any records, written as the recorder does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from xctl_probe.exporters.records import Record
from xctl_probe.recordings.limits import Limits
from xctl_probe.recordings.writer import Recorder

_ENOUGH_S = 45.0  # only where a test fails


def record_all(path: Path, intervals: Iterable[Sequence[Record]]) -> Path:
    """Record these intervals; the directory."""
    recorder = Recorder(path, Limits(), _refuse)
    for records in intervals:
        recorder.put(records)
    recorder.close(_ENOUGH_S)
    assert not recorder.dropped()
    return path


def _refuse(line: str) -> None:
    raise AssertionError(line)
