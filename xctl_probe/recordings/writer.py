"""Writes the records of each interval to a ring, beside the loop.

A thread renders, compresses and writes.  The loop never waits for it: where it is late, intervals
are dropped and counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.events import State
from xctl_probe.exporters.base import Exporter
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import ProcessRecord, Record
from xctl_probe.recordings.limits import Limits
from xctl_probe.recordings.members import pack
from xctl_probe.recordings.ring import Ring

_MOST_QUEUED = 8_192  # records; about 8 MiB.  An interval may be longer where none is queued
_APART_S = 0.25  # least time between two writes: short intervals share a member


class Recorder:
    """Keeps the records of intervals.  `report` gets one line when the first is not kept.

    `line` renders a record as NDJSON.

    Raises UsageError where the directory cannot be recorded to, with the remedy.
    """

    where = "recording"
    takes_all = False

    def __init__(
        self,
        path: Path,
        limits: Limits,
        report: Callable[[str], None],
        line: Exporter = to_line,
    ) -> None:
        self._path = path
        self._line = line
        self._report: Callable[[str], None] | None = report
        self._jobs: dict[int, ProcessRecord] = {}  # by pid: processes of jobs that have not exited
        self._now_ms = 0  # of the records that are written
        try:
            self._ring = Ring(path, limits, self._head)
        except OSError as error:
            raise UsageError(
                f"--record {path}: {error.strerror}; name a directory that can be written"
            ) from error
        self._changed = threading.Condition()
        self._queue: list[Record] = []
        self._dropped_states: dict[int, ProcessRecord] = {}  # by pid: the last one
        self._dropped = 0
        self._stops = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def put(self, records: Sequence[Record]) -> None:
        """Queue the records of one interval."""
        with self._changed:
            if self._queue and len(self._queue) + len(records) > _MOST_QUEUED:
                self._drop(len(records), "its disk is too slow")
                self._dropped_states |= _states(records)
                return
            for pid in _states(records):
                self._dropped_states.pop(pid, None)
            self._queue += records
            self._changed.notify()

    def dropped(self) -> int:
        """Return the number of records that were not kept since the last call."""
        with self._changed:
            count, self._dropped = self._dropped, 0
            return count

    def close(self, wait_s: float) -> None:
        """Write what is queued, for at most `wait_s`.  Safe to call twice."""
        with self._changed:
            self._stops = True
            self._changed.notify()
        self._thread.join(wait_s)
        with self._changed:
            if self._queue:
                self._drop(len(self._queue), "its disk is too slow")
                self._queue.clear()

    def _drop(self, count: int, reason: str) -> None:
        self._dropped += count
        report, self._report = self._report, None
        if report is not None:
            report(
                f"--record {self._path}: {reason}; records that are not kept are counted as "
                "PROBE_LOST, and the stream goes on"
            )

    def _run(self) -> None:
        ended = False
        while not ended:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stops)
                records, self._queue = self._queue, []
                states, self._dropped_states = self._dropped_states, {}
                ended = self._stops
            if records:
                self._keep(records)
            for record in states.values():  # they came after these
                self._note(record)
            if not ended:
                with self._changed:
                    self._changed.wait_for(lambda: self._stops, _APART_S)
        self._ring.close()

    def _keep(self, records: list[Record]) -> None:
        self._now_ms = records[0].ts_ms
        try:
            self._ring.append(self._member(records))
        except (OSError, ProbeError, MemoryError) as error:
            with self._changed:
                self._drop(len(records), getattr(error, "strerror", None) or str(error))
        for record in _states(records).values():
            self._note(record)

    def _note(self, record: ProcessRecord) -> None:
        if record.state.state is State.START:
            self._jobs[record.owner.pid] = record
        else:
            self._jobs.pop(record.owner.pid, None)

    def _head(self) -> bytes:
        """Return the processes of jobs, so that each file has all that its records refer to."""
        records = [replace(record, ts_ms=self._now_ms) for record in self._jobs.values()]
        return self._member(records) if records else b""

    def _member(self, records: Iterable[Record]) -> bytes:
        """Return the records as NDJSON in a member."""
        return pack([self._line(record) for record in records])


def _states(records: Iterable[Record]) -> dict[int, ProcessRecord]:
    """Return the last start or exit of each process, by pid."""
    return {
        record.owner.pid: record
        for record in records
        if isinstance(record, ProcessRecord) and record.state.state in (State.START, State.EXIT)
    }
