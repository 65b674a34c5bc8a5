"""Two passes over the streams: at which second most connections wait, and the records around it.

The first pass parses no stall; it counts.  A worker process takes one file at a time.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import orjson

from xctl_probe.errors import ProbeError
from xctl_probe.fleet.hosts import Hosts
from xctl_probe.fleet.kept import Lives, Reports, Stalls
from xctl_probe.fleet.rows import LARGEST, Host, Row, host_of_row, rows_of
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
_INTERVAL_MS, _LONGEST_INTERVAL_MS = 1_000, 3_600_000
_MEMBERS = 32  # of one place
_MS_PER_S = 1_000
_MOST_SECONDS = 60  # that one record of a wait counts in
_KNOWN_WAITS = 1 << 18  # by second, twice this number; what is left out may count twice
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

    `waits` counts connections that wait by second (Unix epoch), `latest_ms` has the time of the
    last record of them.  `processes` are rows of begins and exits.  `refused` is why the file could
    not be read.  `hosts` has those of the file.
    """

    path: Path
    waits: Counter[int] = field(default_factory=Counter)
    latest_ms: dict[int, int] = field(default_factory=dict)
    processes: list[Row] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    records: int = 0
    interval_ms: int = _INTERVAL_MS
    hosts: Hosts = field(default_factory=Hosts)
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
    """A file, the name of its host where it has none itself, and what the moment is of.

    `given` is what was named: the file, or the directory that has it.
    """

    path: Path
    stream: str
    asked: Asked
    since_ms: int
    given: Path | None = None


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
    marks, spans, waits, lives = task.asked.marks, _Spans(), _Waits(found), Lives()

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
            found.hosts.pass_over(summary.first_ms, summary.last_ms)
            spans.add(piece.place, summary.first_ms, summary.last_ms)
            if not interval_ms and (interval_ms := summary.interval_ms):
                found.interval_ms = _bounded(interval_ms)
            if summary.waits and summary.last_ms >= task.since_ms:
                waits.add(summary.last_ms, summary.waits)
            continue
        lines = piece.lines.split(b"\n")
        found.records += len(lines) - lines.count(b"")
        times = times_of(piece.lines)
        # Of another form nothing is known: the second pass finds out.
        first_ms, last_ms = times[:2] if times and times.all_known else (0, LARGEST)
        spans.add(piece.place, first_ms, last_ms)
        if not interval_ms and (interval_ms := interval_of(piece.lines) or 0):
            found.interval_ms = _bounded(interval_ms)
        found.hosts.add(piece.lines, times and times[:2], task.stream)
        if last_ms < task.since_ms and b'"process.state"' not in piece.lines:
            continue
        for line in wanted(lines, found.problems):
            if not is_stall(line):
                if CONNECTED not in line:
                    for _, row in rows_of(line, task.stream, found.interval_ms, found.problems):
                        lives.add(row)
            elif wait := wait_of(line):
                ts_ms = ts_of(line) or 0
                if ts_ms >= task.since_ms and all(mark in line for mark in marks):
                    waits.add(ts_ms, wait)
    waits.close()
    found.hosts.interval_ms = interval_ms
    found.spans = spans.all()
    found.processes, found.left_out = lives.all(), lives.left_out


def _bounded(interval_ms: int) -> int:
    return min(max(interval_ms, 1), _LONGEST_INTERVAL_MS)


class _Waits:
    """Counts the connections that wait in each second, each of them once.

    A record of an interval of several seconds counts in each of them.  A second may have more than
    one interval, and the lines need no order.
    """

    def __init__(self, found: Scan) -> None:
        self._found = found
        self._counts: Counter[int] = Counter()  # of connections that were read
        self._least: dict[int, int] = {}  # what one summary has, which names none
        self._known: set[int] = set()
        self._before: set[int] = set()

    def add(self, ts_ms: int, wait: bytes | int) -> None:
        """Add a connection that waits, or how many there are in an interval."""
        second = ts_ms // _MS_PER_S
        self._found.latest_ms[second] = max(ts_ms, self._found.latest_ms.get(second, 0))
        length = min(max(round(self._found.interval_ms / _MS_PER_S), 1), _MOST_SECONDS)
        for at in range(second, second + length):
            if isinstance(wait, int):
                self._least[at] = max(wait, self._least.get(at, 0))
            elif self._is_new(hash((wait, at))):
                self._counts[at] += 1

    def _is_new(self, wait: int) -> bool:
        if wait in self._known or wait in self._before:
            return False
        if len(self._known) >= _KNOWN_WAITS:
            self._known, self._before = set(), self._known
        self._known.add(wait)
        return True

    def close(self) -> None:
        """Hand over what was counted."""
        for at in self._counts.keys() | self._least.keys():
            self._found.waits[at] = max(self._counts[at], self._least.get(at, 0))


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


class Read(NamedTuple):
    """Places in a file whose records are wanted, from one time to another (ms, inclusive).

    `earlier_ms` is the begin for hosts whose streams stop before.
    """

    task: Task
    places: Sequence[Place]
    interval_ms: int
    from_ms: int
    stalls_from_ms: int
    moment_ms: int
    until_ms: int
    earlier_ms: Mapping[Host, int] = {}


def read(what: Read) -> Window:
    """Return the rows of these places."""
    problems: Counter[str] = Counter()
    kept = _Kept(what, problems)

    def passes(summary: Summary) -> bool:
        return summary.last_ms < kept.first_ms or summary.first_ms > what.until_ms

    try:
        for place in what.places:
            for piece in pieces(what.task.path, Counter(), place, passes):
                for line in wanted(piece.lines.split(b"\n")):
                    if is_stall(line):
                        kept.add_stall(line)
                    elif CONNECTED in line:  # the first pass has the others
                        kept.add_report(line)
    except Refused as error:  # it has changed since the first pass
        problems[str(error)] += 1
    return kept.window()


class _Kept:
    """The rows of the second pass, within limits."""

    def __init__(self, what: Read, problems: Counter[str]) -> None:
        self.first_ms = min([what.from_ms, *what.earlier_ms.values()])
        self._what = what
        self._problems = problems
        self._stalls = Stalls(what.moment_ms)
        self._reports = Reports(what.moment_ms)

    def add_stall(self, line: bytes) -> None:
        """Add a stall if it is of the moment."""
        for _, row in self._rows(line, self._what.stalls_from_ms):
            if self._what.stalls_from_ms <= row["ts_ms"] <= self._what.until_ms:
                self._stalls.add(row)

    def add_report(self, line: bytes) -> None:
        """Add connections of a process if they are of the time before the moment."""
        rows = self._rows(line, self.first_ms)
        if not rows:
            return
        (_, process), *connections = rows
        from_ms = self._what.earlier_ms.get(host_of_row(process), self._what.from_ms)
        if from_ms <= process["ts_ms"] <= self._what.until_ms:
            self._reports.add(process, [row for _, row in connections])

    def _rows(self, line: bytes, from_ms: int) -> list[tuple[str, Row]]:
        ts_ms = ts_of(line)
        if ts_ms is not None and not from_ms <= ts_ms <= self._what.until_ms:
            return []
        return list(rows_of(line, self._what.task.stream, self._what.interval_ms, self._problems))

    def window(self) -> Window:
        """Return what is kept."""
        rows = {
            "stalls": self._stalls.all(),
            "connections": self._reports.connections(),
            "processes": self._reports.processes(),
        }
        return Window(rows, self._problems, self._stalls.left_out + self._reports.left_out)


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
