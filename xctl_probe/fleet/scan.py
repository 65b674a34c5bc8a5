"""Two passes over the streams: at which second most connections wait, and the records around it.

The first pass parses no stall; it counts.  A worker process takes one file at a time.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import orjson

from xctl_probe.errors import ProbeError
from xctl_probe.fleet.rows import LARGEST, Row, rows_of
from xctl_probe.fleet.streams import Place, Refused, pieces
from xctl_probe.recordings.lines import (
    CONNECTED,
    interval_of,
    is_stall,
    times_of,
    ts_of,
    wait_of,
    wanted,
)
from xctl_probe.recordings.members import Summary

MOST_ROWS = 1_000_000  # of one table, from all streams
_MOST_OF_FILE = 100_000
_INTERVAL_MS, _LONGEST_INTERVAL_MS = 1_000, 3_600_000
_MEMBERS = 32  # of one place
_MS_PER_S = 1_000
_MOST_WORKERS = 4
_SMALL_BYTES = 4 << 20  # below it, no worker is worth its start
_PR_SET_PDEATHSIG = 1

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Asked(NamedTuple):
    """The process or job that the moment is of; of None, all are."""

    pid: int | None = None
    job: str | None = None

    @property
    def marks(self) -> tuple[bytes, ...]:
        """What a line of it has."""
        pid = () if self.pid is None else (b'"pid":%d,' % self.pid,)
        job = () if self.job is None else (b'"job_id":' + json.dumps(self.job).encode(),)
        return pid or job


class Span(NamedTuple):
    """A place, and the earliest and latest time of its lines (ms since the Unix epoch)."""

    place: Place
    first_ms: int
    last_ms: int


@dataclass(slots=True)
class Scan:
    """What the first pass found in a file.

    `waits` counts connections that wait by second (Unix epoch).  `processes` are rows of begins and
    exits.  `refused` is why the file could not be read.
    """

    path: Path
    waits: Counter[int] = field(default_factory=Counter)
    processes: list[Row] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    records: int = 0
    interval_ms: int = _INTERVAL_MS
    spans: list[Span] = field(default_factory=list)
    refused: str | None = None
    left_out: int = 0  # rows beyond the limit


@dataclass(slots=True)
class Window:
    """What the second pass found in a file: rows by table."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    left_out: int = 0


class Task(NamedTuple):
    """A file, the name of its host where it has none itself, and what the moment is of."""

    path: Path
    stream: str
    asked: Asked
    since_ms: int


def scan(task: Task) -> Scan:
    """Return what the first pass finds in one file."""
    found = Scan(task.path)
    try:
        _scan(task, found)
    except Refused as error:
        found.refused = str(error)
    return found


def _scan(task: Task, found: Scan) -> None:
    interval_ms = 0
    marks, spans, waits = task.asked.marks, _Spans(), _Waits(found)

    def passes(summary: Summary) -> bool:
        """Nothing of a member is needed, or the number of its waits."""
        if summary.states:
            return False
        if not summary.waits or summary.last_ms < task.since_ms:
            return True
        return not marks and summary.first_ms // _MS_PER_S == summary.last_ms // _MS_PER_S

    for piece in pieces(task.path, found.problems, passes=passes):
        if summary := piece.passed:
            found.records += summary.records
            spans.add(piece.place, summary.first_ms, summary.last_ms)
            if not interval_ms and (interval_ms := summary.interval_ms):
                found.interval_ms = _bounded(interval_ms)
            if summary.waits and summary.last_ms >= task.since_ms:
                waits.add(summary.last_ms // _MS_PER_S, summary.waits)
            continue
        lines = piece.lines.split(b"\n")
        found.records += len(lines) - lines.count(b"")
        # Of another form nothing is known: the second pass finds out.
        times = times_of(lines) or (0, LARGEST)
        spans.add(piece.place, *times)
        if not interval_ms and (interval_ms := interval_of(piece.lines) or 0):
            found.interval_ms = _bounded(interval_ms)
        if times[1] < task.since_ms and b'"process.state"' not in piece.lines:
            continue
        for line in wanted(lines, found.problems):
            if not is_stall(line):
                if CONNECTED not in line:
                    _note_state(line, task, found)
            elif wait := wait_of(line):
                ts_ms = ts_of(line) or 0
                if ts_ms >= task.since_ms and all(mark in line for mark in marks):
                    waits.add(ts_ms // _MS_PER_S, wait)
    waits.close()
    found.spans = spans.all()


def _bounded(interval_ms: int) -> int:
    return min(max(interval_ms, 1), _LONGEST_INTERVAL_MS)


class _Waits:
    """Counts the waits of an interval for each second until the next one.

    A second may have more than one interval; a connection that waits in two of them counts once.
    """

    def __init__(self, found: Scan) -> None:
        self._found = found
        self._second = 0  # of what is counted now
        self._known: set[bytes] = set()
        self._least = 0  # waits of one interval

    def add(self, second: int, wait: bytes | int) -> None:
        """Add a connection that waits, or how many there are in an interval."""
        if second != self._second:
            self.close()
            self._second = second
        if isinstance(wait, int):
            self._least = max(self._least, wait)
        else:
            self._known.add(wait)

    def close(self) -> None:
        """Count the waits of the last second."""
        if count := max(self._least, len(self._known)):
            for at in range(self._second, self._second + -(-self._found.interval_ms // _MS_PER_S)):
                self._found.waits[at] += count
        self._known, self._least = set(), 0


class _Spans:
    """Places of a file with their times; several members make one place."""

    def __init__(self) -> None:
        self._closed: list[Span] = []
        self._place: Place | None = None  # of what is open
        self._offset = 0  # of the last member of it
        self._members = 0
        self._first_ms = self._last_ms = 0

    def add(self, place: Place, first_ms: int, last_ms: int) -> None:
        is_open = self._place is not None and self._place.size is None and place.size is None
        if is_open and place.offset == self._offset:
            pass
        elif is_open and self._members < _MEMBERS:
            self._members += 1
        else:
            self._close()
            self._place, self._members = place, 1
            self._first_ms = self._last_ms = first_ms
        self._offset = place.offset
        # A clock may step in between.
        self._first_ms = min(self._first_ms, first_ms, last_ms)
        self._last_ms = max(self._last_ms, first_ms, last_ms)

    def _close(self) -> None:
        if self._place is not None:
            place = self._place._replace(last=self._offset)
            self._closed.append(Span(place, self._first_ms, self._last_ms))

    def all(self) -> list[Span]:
        """Return all spans."""
        self._close()
        return self._closed


def _note_state(line: bytes, task: Task, found: Scan) -> None:
    for _, row in rows_of(line, task.stream, found.interval_ms, found.problems):
        if len(found.processes) < _MOST_OF_FILE:
            found.processes.append(row)
        else:
            found.left_out += 1


class Read(NamedTuple):
    """Places in a file whose records are wanted, from one time to another (ms, inclusive)."""

    task: Task
    places: Sequence[Place]
    interval_ms: int
    from_ms: int
    stalls_from_ms: int
    until_ms: int


def read(what: Read) -> Window:
    """Return the rows of these places."""
    found = Window({"stalls": [], "connections": [], "processes": []})
    count = 0

    def passes(summary: Summary) -> bool:
        return summary.last_ms < what.from_ms or summary.first_ms > what.until_ms

    try:
        for place in what.places:
            for piece in pieces(what.task.path, Counter(), place, passes):
                for line in wanted(piece.lines.split(b"\n")):
                    stall = is_stall(line)
                    if not stall and CONNECTED not in line:
                        continue  # the first pass has it
                    from_ms = what.stalls_from_ms if stall else what.from_ms
                    ts_ms = ts_of(line)
                    if ts_ms is not None and not from_ms <= ts_ms <= what.until_ms:
                        continue
                    for table, row in rows_of(
                        line, what.task.stream, what.interval_ms, found.problems
                    ):
                        if not from_ms <= row["ts_ms"] <= what.until_ms:
                            continue
                        count += 1
                        if count <= _MOST_OF_FILE:
                            found.rows[table].append(row)
                        else:
                            found.left_out += 1
    except Refused as error:  # it has changed since the first pass
        found.problems[str(error)] += 1
    return found


def in_workers(
    work: Callable[[_In], _Out], tasks: Sequence[_In], paths: Iterable[Path]
) -> Iterator[_Out]:
    """Yield the results in the order of the tasks.  Raises ProbeError where a worker is killed."""
    size = sum(_size(path) for path in paths)
    workers = min(_MOST_WORKERS, len(os.sched_getaffinity(0)), len(tasks))
    if workers < 2 or size < _SMALL_BYTES:  # noqa: PLR2004
        yield from map(work, tasks)
        return
    try:
        with ProcessPoolExecutor(workers, get_context("fork"), _exit_with_parent) as pool:
            try:
                yield from pool.map(work, tasks)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise ProbeError(
            "a process that reads the streams was killed; give it more memory, or fewer files"
        ) from None


def _exit_with_parent() -> None:
    """Leave no worker behind, whatever stops the command.  PR_SET_PDEATHSIG, prctl(2)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def to_ndjson(rows: Iterable[Row]) -> bytes:
    """Return rows for the engine, one a line."""
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
