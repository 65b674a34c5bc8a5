"""`blame FILE...`: the graph of waits over many hosts, at the moment of most waits."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from xctl_probe.commands.blame.collect import Collected
from xctl_probe.commands.blame.fleet_trail import FleetTrail, is_loopback
from xctl_probe.commands.blame.graph import Graph
from xctl_probe.commands.blame.report import to_json, to_text
from xctl_probe.commands.recorded import clock_text
from xctl_probe.commands.why.humanize import format_duration, pluralize
from xctl_probe.config.checks import check_span
from xctl_probe.errors import UsageError
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.fleet.engine import Engine
from xctl_probe.fleet.hosts import Covered
from xctl_probe.fleet.kept import Lives
from xctl_probe.fleet.rows import Host, Row, host_of_row
from xctl_probe.fleet.scan import MOST_ROWS, Asked, Read, Scan, Task, in_workers, read, scan
from xctl_probe.fleet.streams import Refused, files_of
from xctl_probe.recordings.lines import BROKEN

_SKEW = "1s"  # between the clocks of two hosts
_MOST_SKEW_MS = 600_000
_LEAD_MS = 60_000  # what --connections has reported before the moment
_MS_PER_S = 1_000
_MOST_FILES = 100_000
_TABLES = ("stalls", "connections", "processes")
_SUFFIXES = (".gz", ".ndjson", ".jsonl")

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Span:
    """The time that the answer is about, as given: texts as `10m`, None for the default."""

    since: str | None = None
    clock_skew: str | None = None

    def checked(self, now_ms: int) -> tuple[int, int]:
        """Return the begin (ms since the Unix epoch) and the clock skew (ms).

        Raises UsageError for a length that is invalid.
        """
        skew = self.clock_skew or _SKEW
        skew_ms = check_span(skew, "clock-skew")
        if skew_ms > _MOST_SKEW_MS:
            raise UsageError(f"--clock-skew {skew}: give at most 10m, or set the hosts' clocks")
        since_ms = 0 if self.since is None else now_ms - check_span(self.since, "since")
        return since_ms, skew_ms


@dataclass(slots=True)
class Loaded:
    """The tables of a moment (ms since the Unix epoch), which is None where no process waits.

    `hosts` counts those of the moment.  `stopped` has how long before the moment (ms) the stream of
    a host is over.  `one_clock`: all streams are of one host.
    """

    engine: Engine
    moment_ms: int | None
    hosts: int
    stopped: dict[Host, int] = field(default_factory=dict)
    one_clock: bool = False
    notes: list[str] = field(default_factory=list)


def run(
    files: Sequence[Path],
    stdout: int,
    report: Report,
    *,
    pid: int | None,
    job: str | None,
    as_json: bool,
    span: Span,
) -> None:
    """Write the answer to `stdout`; `report` gets one line for each file with a problem.

    Raises UsageError where no file can be read, ProbeError where memory does not suffice.
    """
    since_ms, skew_ms = span.checked(time.time_ns() // 1_000_000)
    with closing(Engine()) as engine:
        loaded = load(engine, files, report, Asked(pid, job), since_ms, skew_ms)
        collected = collect(loaded, skew_ms, pid=pid, job=job)
    subject = f"process {pid}" if pid is not None else None
    if job is not None and subject is None:
        subject = f"job {job}"
    if as_json:
        answer: dict[str, Any] = orjson.loads(to_json(collected, subject))
        answer["ts"] = loaded.moment_ms
        write_answer(stdout, ascii_json(answer))
        return
    when = f"of {pluralize(loaded.hosts, 'host')}"
    if loaded.moment_ms is not None:
        when = f"at {clock_text(loaded.moment_ms)}, the moment of most waits {when}"
    width = os.get_terminal_size(stdout).columns if os.isatty(stdout) else None
    text = to_text(collected, subject, width or None)
    write_answer(stdout, f"{when}:\n".encode("ascii") + text)


def load(
    engine: Engine,
    files: Sequence[Path],
    report: Report,
    asked: Asked,
    since_ms: int,
    skew_ms: int,
) -> Loaded:
    """Find the moment of most waits, and load what the streams have of it.

    Raises UsageError where no file can be read.
    """
    tasks = _tasks(files, report, asked, since_ms)
    rows = _Rows()
    scans = [rows.with_begun(one) for one in in_workers(scan, tasks, [one.path for one in tasks])]
    moment_ms = _busiest(scans)
    loaded = Loaded(engine, moment_ms, 0, one_clock=_is_one_host(tasks, scans))
    if moment_ms is not None:
        covered = Covered(
            (str(task.given), one.hosts) for task, one in zip(tasks, scans, strict=True)
        )
        stopped = covered.stopped(moment_ms, skew_ms)
        loaded.stopped = {host: moment_ms - last_ms for host, last_ms in stopped.items()}
        both = zip(tasks, scans, strict=True)
        found = [_read(task, one, moment_ms, skew_ms, stopped) for task, one in both]
        rows.read([what for what in found if what])
        rows.leave_out(_former(rows.tables, covered.begun_anew(moment_ms)))
    tables = rows.closed()
    if damaged := _report(scans, rows.problems, report):
        whole = pluralize(len(tasks), "file")
        loaded.notes.append(f"{damaged} of {whole} could not be read whole; stderr names them")
    loaded.notes += rows.notes()
    loaded.hosts = len({host_of_row(row) for found in tables.values() for row in found})
    for table in _TABLES:
        engine.insert(table, tables.pop(table))
    return loaded


class _Rows:
    """The rows of all files, each table within its limit: none makes another one incomplete."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {table: [] for table in _TABLES}
        self.problems: dict[Path, Counter[str]] = {}
        self._begun = Lives(MOST_ROWS)
        self._of_files = 0  # left out of them
        self._left_out = 0

    def with_begun(self, found: Scan) -> Scan:
        """Take the begins and exits of processes from what the first pass found in a file."""
        self.problems[found.path] = found.problems
        self._of_files += found.left_out
        for row in found.processes:
            self._begun.add(row)
        found.processes = []
        return found

    def read(self, reads: Sequence[Read]) -> None:
        """Add what the second pass finds."""
        windows = in_workers(read, reads, [what.task.path for what in reads])
        for what, window in zip(reads, windows, strict=True):
            self.problems[what.task.path] += window.problems
            self._of_files += window.left_out
            for table, found in window.rows.items():
                room = max(MOST_ROWS - len(self.tables[table]), 0)
                self._left_out += max(len(found) - room, 0)
                self.tables[table] += found[:room]

    def leave_out(self, hosts: set[Host]) -> None:
        """Leave out the rows of these hosts."""
        self.tables["processes"] += self._begun.take()
        for table, found in self.tables.items():
            self.tables[table] = [row for row in found if host_of_row(row) not in hosts]

    def closed(self) -> dict[str, list[Row]]:
        """Return the rows by table."""
        self.tables["processes"] += self._begun.take()
        return self.tables

    def notes(self) -> list[str]:
        """Return how many records are left out, in words, with what helps."""
        found = []
        if self._of_files:
            found.append(f"{self._of_files} records are left out, of files with too many")
        if left_out := self._left_out + self._begun.left_out:
            found.append(f"{left_out} records are left out; name fewer files")
        return found


def _former(rows: dict[str, list[Row]], pairs: Iterable[tuple[Host, Host]]) -> set[Host]:
    """Return the hosts that are another one by now: it has the same name and an address of them."""
    addresses: dict[Host, set[str]] = {}
    for row in (*rows["stalls"], *rows["connections"]):
        address = row["local_endpoint"].rpartition(":")[0].strip("[]")
        if not is_loopback(address):
            addresses.setdefault(host_of_row(row), set()).add(address)
    return {host for host, now in pairs if addresses.get(host, set()) & addresses.get(now, set())}


def _tasks(files: Sequence[Path], report: Report, asked: Asked, since_ms: int) -> list[Task]:
    tasks: list[Task] = []
    for given in files:
        try:
            tasks += [
                Task(path, _stream(given), asked, since_ms, given) for path in files_of(given)
            ]
        except Refused as error:
            report(f"{given}: {error}")
    if len(tasks) > _MOST_FILES:
        raise UsageError(f"blame: {len(tasks)} files; name at most {_MOST_FILES}")
    if not tasks:
        raise UsageError("blame: none of the files can be read; name streams of NDJSON")
    return tasks


def _stream(path: Path) -> str:
    """Return the name of a host for records that have none."""
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return printable(name or str(path))


def _is_one_host(tasks: Iterable[Task], scans: Iterable[Scan]) -> bool:
    """True where all is of one host: also what names none, where one file or directory is given."""
    hosts: set[Host] = set()
    unnamed = False
    for one in scans:
        hosts.update(one.hosts.times)
        unnamed |= one.hosts.unknown is not None
    return len(hosts) == 1 and not (unnamed and len({task.given for task in tasks}) > 1)


def _busiest(scans: Iterable[Scan]) -> int | None:
    """Return the time (ms) of the last wait in the second with most waits; of several the last one.

    Each of the waits of that second has begun by then.
    """
    waits: Counter[int] = Counter()
    latest_ms: dict[int, int] = {}
    for one in scans:
        waits.update(one.waits)
        for second, ms in one.latest_ms.items():
            latest_ms[second] = max(ms, latest_ms.get(second, 0))
    busiest = max(waits, key=lambda second: (waits[second], second), default=None)
    if busiest is None:
        return None
    # Without a record in this second, it is one of several of a long interval.
    return latest_ms.get(busiest, busiest * _MS_PER_S + _MS_PER_S // 2)


def _read(
    task: Task, found: Scan, moment_ms: int, skew_ms: int, stopped: dict[Host, int]
) -> Read | None:
    """Return what is to be read of a file: of the moment, and of a host that is down its last."""
    around_ms = skew_ms + found.interval_ms
    from_ms, until_ms = moment_ms - around_ms - _LEAD_MS, moment_ms + around_ms
    last_ms = {host: stopped[host] for host in found.hosts.times if host in stopped}
    windows = [(from_ms, until_ms), *((ms - _LEAD_MS, ms) for ms in last_ms.values())]
    places = [
        span.place
        for span in found.spans
        if any(span.first_ms <= until and span.last_ms >= begin for begin, until in windows)
    ]
    if not places:
        return None
    earlier_ms = {host: ms - _LEAD_MS for host, ms in last_ms.items()}
    return Read(
        task,
        places,
        found.interval_ms,
        from_ms,
        moment_ms - around_ms,
        moment_ms,
        until_ms,
        earlier_ms,
    )


def _report(scans: Iterable[Scan], problems: dict[Path, Counter[str]], report: Report) -> int:
    """Report what could not be read; return the number of these files.

    The lines on stderr have a limit.  Raises UsageError where nothing could be read.
    """
    readable, damaged = False, 0
    for one in scans:
        found = problems[one.path]
        damaged += one.refused is not None or bool(found)
        if one.refused is not None:
            report(f"{one.path}: {one.refused}")
        elif one.records <= found[BROKEN]:
            report(f"{one.path}: no stream of NDJSON; {_counted(found)}")
        else:
            readable = True
            if found:
                report(f"{one.path}: left out {_counted(found)}")
    if not readable:
        raise UsageError("blame: none of the files can be read; name streams of NDJSON")
    return damaged


def _counted(problems: Counter[str]) -> str:
    return ", ".join(f"{what} ({count})" for what, count in sorted(problems.items())) or "empty"


def collect(loaded: Loaded, skew_ms: int, *, pid: int | None, job: str | None) -> Collected:
    """Return the graph of the moment: of processes with one pid, of one job, or of all."""
    notes = list(loaded.notes)
    if loaded.moment_ms is None:
        return Collected(Graph({}), "streams", tuple(notes), {})
    parameters = {"moment_ms": loaded.moment_ms, "skew_ms": skew_ms}
    engine = loaded.engine
    for name in ("waits", "members", "holders", "addresses"):
        engine.keep(name, parameters)
    trail = FleetTrail(engine.table("addresses"), loaded.stopped)
    for row in engine.table("members"):
        trail.add_member(row)
    edges = engine.rows("edges", parameters)
    for row in edges:
        trail.add_waiter(row)
    for row in edges:
        trail.add_wait(row)
    graph = trail.graph()
    if pid is not None:
        graph = graph.part(node for node, one in graph.members.items() if one.process.pid == pid)
    if job is not None:
        graph = graph.part(
            node for node, one in graph.members.items() if one.job and one.job.job_id == job
        )
    if not trail.has_connections:
        notes.append(
            "no stream has connections; with --connections the probes name the processes at the "
            "other sockets"
        )
    if trail.ambiguous:
        notes.append(f"{pluralize(trail.ambiguous, 'wait')} for an address that several hosts have")
    if not loaded.one_clock:
        skew = format_duration(skew_ms)
        notes.append(f"clocks may differ by {skew}; --clock-skew allows for more")
    return Collected(graph, "streams", tuple(notes), trail.sizes)
