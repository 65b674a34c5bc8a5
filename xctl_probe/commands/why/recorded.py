"""`why PID --since`: the stalls and errors that a recording has of one process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psutil

from xctl_probe.commands.recorded import Window, notes, nothing_recorded, recording_since
from xctl_probe.commands.why.recorded_report import Failure, Former, Recalled, to_json, to_text
from xctl_probe.errors import UsageError
from xctl_probe.events import SocketError, State
from xctl_probe.exporters.labels import counts, endpoints, entity
from xctl_probe.exporters.records import ErrorRecord, ProcessRecord, Record
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.recordings.history import Coverage, Stalls
from xctl_probe.recordings.reader import Recording

_LARGEST_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h
_CLOCK_MS = 100  # start times are in clock ticks, and the times of stalls in those of a sample


def run(pid: int, stdout: int, *, as_json: bool, record: str | None, since: str) -> None:
    """Write what is recorded to `stdout`.  Raises UsageError where there is nothing to read."""
    if not 0 < pid <= _LARGEST_PID:
        raise UsageError(f"why {pid}: no process has such a pid")
    path = Path(record) if record is not None else None
    with recording_since("why", since, path) as (recording, window):
        recalled = recall(recording, window, pid, started_ms(pid))
        if recalled.last_ms is None and path is not None:
            raise nothing_recorded(f"why {pid}", since, path)
    width = os.get_terminal_size(stdout).columns if os.isatty(stdout) else None
    write_answer(stdout, to_json(recalled) if as_json else to_text(recalled, width or None))


def started_ms(pid: int) -> int | None:
    """Return when the process with this pid began (Unix epoch), None where there is none."""
    try:
        return int(psutil.Process(pid).create_time() * 1_000)
    except psutil.Error:
        return None


def recall(recording: Recording, window: Window, pid: int, begun_ms: int | None) -> Recalled:
    """Return what the recording has of this pid; `begun_ms`: of the process that has it now."""
    all_stalls = Stalls()  # a record of one may come an interval after its process has exited
    found, former = _Found(all_stalls), _Found(all_stalls)
    coverage = Coverage()
    mark = b'"pid":%d,' % pid
    for interval in recording.intervals(window.since_ms):
        coverage.add(interval)
        # All records of an interval have one time: it is over before the process began, or not.
        of = found if begun_ms is None or interval.ts_ms >= begun_ms - _CLOCK_MS else former
        of.add(
            record
            for record in interval.records(lambda line: mark in line)
            if record.owner is not None and record.owner.pid == pid
        )
    stalls = all_stalls.all()
    earlier = [
        one for one in stalls if begun_ms is not None and one.begun_ms < begun_ms - _CLOCK_MS
    ]
    return Recalled(
        pid=pid,
        comm=found.comm,
        window=window,
        last_ms=coverage.last_ms,
        stalls=tuple(one for one in stalls if one not in earlier),
        failures=tuple(found.failures.values()),
        exited_ms=found.exited_ms,
        former=Former(
            tuple(earlier),
            tuple(former.failures.values()),
            former.exited_ms,
        ),
        notes=tuple(notes(recording, coverage, window)),
    )


class _Found:
    """The records of one process, added up; its stalls in `stalls`."""

    def __init__(self, stalls: Stalls) -> None:
        self._stalls = stalls
        self.failures: dict[tuple[str, str | None, str | None, str], Failure] = {}
        self.comm: str | None = None
        self.exited_ms: int | None = None

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self._stalls.add([record])
            self._name(record)
            if isinstance(record, ErrorRecord):
                self._fail(record)

    def _name(self, record: Record) -> None:
        if record.owner is not None:
            self.comm = record.owner.comm
        if isinstance(record, ProcessRecord):
            exits = record.state.state is State.EXIT
            self.exited_ms = record.ts_ms if exits else None

    def _fail(self, record: ErrorRecord) -> None:
        local, remote = None, None
        if isinstance(record.error, SocketError):
            local, remote = endpoints(record.error)
        for what, count in counts(record):
            key = (what, local, remote, entity(record))
            before = self.failures.get(key)
            if before is None:
                self.failures[key] = Failure(*key, count, record.ts_ms, record.ts_ms)
            else:
                total = before.count + count
                self.failures[key] = replace(before, count=total, last_ms=record.ts_ms)
