"""`blame FILE...`: the graph of waits over many hosts, at the moment of most waits."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson

from xctl_probe.commands.blame.collect import Collected
from xctl_probe.commands.blame.graph import Graph, Member, Node, Outside, Wait
from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.blame.report import to_json, to_text
from xctl_probe.commands.recorded import ACTIVITIES, clock_text
from xctl_probe.commands.why.humanize import format_duration, pluralize
from xctl_probe.config import check_span
from xctl_probe.errors import UsageError
from xctl_probe.events import Cause, Direction, PeerActivity, Process
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.fleet.engine import Engine
from xctl_probe.fleet.rows import Host, Row
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
_SLEEPING = "sleeping"  # in the queries: the state that a probe writes as null
_SLEEPS, _NOT_REPORTED = "its threads sleep", "what it does is not in the streams"

Report = Callable[[str], None]
_Key = tuple[Host, int]  # with the pid


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
    """The tables of a moment; `second` is None where no process waits (Unix epoch)."""

    engine: Engine
    second: int | None
    hosts: int
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
        answer["ts"] = None if loaded.second is None else loaded.second * _MS_PER_S
        write_answer(stdout, ascii_json(answer))
        return
    when = f"of {pluralize(loaded.hosts, 'host')}"
    if loaded.second is not None:
        when = f"at {clock_text(loaded.second * _MS_PER_S)}, the moment of most waits {when}"
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
    scans = list(in_workers(scan, tasks, [task.path for task in tasks]))
    waits: Counter[int] = Counter()
    problems: dict[Path, Counter[str]] = {}
    for one in scans:
        waits.update(one.waits)
        problems[one.path] = one.problems
    second = _busiest(waits)
    loaded = Loaded(engine, second, 0)
    rows: dict[str, list[Row]] = {table: [] for table in _TABLES}
    rows["processes"] = [row for one in scans for row in one.processes]
    left_out = sum(one.left_out for one in scans)
    if second is not None:
        reads = [
            what
            for task, one in zip(tasks, scans, strict=True)
            if (what := _read(task, one, second, skew_ms))
        ]
        for what, window in zip(
            reads, in_workers(read, reads, [what.task.path for what in reads]), strict=True
        ):
            problems[what.task.path] += window.problems
            left_out += window.left_out
            for table, found in window.rows.items():
                room = max(MOST_ROWS - len(rows[table]), 0)
                left_out += max(len(found) - room, 0)
                rows[table] += found[:room]
    if damaged := _report(scans, problems, report):
        whole = pluralize(len(tasks), "file")
        loaded.notes.append(f"{damaged} of {whole} could not be read whole; stderr names them")
    if left_out:
        loaded.notes.append(f"{left_out} records are left out; name fewer files, or give --job")
    loaded.hosts = len({(row["host"], row["boot_id"]) for found in rows.values() for row in found})
    for table in _TABLES:
        engine.insert(table, rows.pop(table))
    return loaded


def _tasks(files: Sequence[Path], report: Report, asked: Asked, since_ms: int) -> list[Task]:
    tasks: list[Task] = []
    for given in files:
        try:
            tasks += [Task(path, _stream(given), asked, since_ms) for path in files_of(given)]
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


def _busiest(waits: Counter[int]) -> int | None:
    """Return the second with most waits; of several the last one."""
    return max(waits, key=lambda second: (waits[second], second), default=None)


def _read(task: Task, found: Scan, second: int, skew_ms: int) -> Read | None:
    moment_ms = _middle(second)
    around_ms = skew_ms + found.interval_ms
    from_ms, until_ms = moment_ms - around_ms - _LEAD_MS, moment_ms + around_ms
    places = [
        span.place for span in found.spans if span.first_ms <= until_ms and span.last_ms >= from_ms
    ]
    if not places:
        return None
    return Read(task, places, found.interval_ms, from_ms, moment_ms - around_ms, until_ms)


def _middle(second: int) -> int:
    return second * _MS_PER_S + _MS_PER_S // 2


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
    if loaded.second is None:
        return Collected(Graph({}), "streams", tuple(notes), {})
    parameters = {"moment_ms": _middle(loaded.second), "skew_ms": skew_ms + _MS_PER_S // 2}
    engine = loaded.engine
    for name in ("waits", "members", "holders"):
        engine.keep(name, parameters)
    trail = _Trail(engine.rows("addresses", parameters))
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
    notes.append(
        "clocks may differ by " + format_duration(skew_ms) + "; --clock-skew allows for more"
    )
    return Collected(graph, "streams", tuple(notes), trail.sizes)


class _Trail:
    """The processes and waits of one moment; a node is a number for each process of each host."""

    def __init__(self, addresses: Iterable[Row]) -> None:
        self.ambiguous = 0
        self.has_connections = False
        self._ranks: dict[str, set[int]] = {}
        self._known: dict[_Key, Member] = {}  # of all processes of jobs
        self._numbers: dict[_Key, int] = {}  # of those that wait or are waited for
        self._members: dict[int, Member] = {}
        self._waits: list[Wait] = []
        self._hosts: dict[str, set[Host]] = {}
        for row in addresses:
            address = row["address"].strip("[]")
            self._hosts.setdefault(address, set()).add(_host(row))
        hosts = {host for found in self._hosts.values() for host in found}
        names = Counter(host.name for host in hosts)
        self._shared = {name for name, count in names.items() if count > 1}

    @property
    def sizes(self) -> dict[str, int]:
        """The number of ranks of each job."""
        return {job_id: len(ranks) for job_id, ranks in self._ranks.items()}

    def add_member(self, row: Row) -> None:
        """Add what is known of a process of a job."""
        host, state = _host(row), row["state"]
        self.has_connections |= state is not None
        activity = PeerActivity(state) if state not in (None, _SLEEPING) else None
        does = _NOT_REPORTED
        if state is not None:
            does = ACTIVITIES[activity] if activity else _SLEEPS
        self._known[host, row["pid"]] = self._member(host, row, activity, does)

    def add_waiter(self, row: Row) -> None:
        """Add what the record of a wait names its process."""
        host = _host(row)
        key = host, row["pid"]
        if key not in self._known:
            self._known[key] = self._member(host, row, None, None)
        self._number(key)

    def add_wait(self, row: Row) -> None:
        """Add a wait, with the process at the other socket where one was found."""
        host = _host(row)
        self._waits.append(
            Wait(
                self._number((host, row["pid"])),
                self._target(host, row),
                float(row["duration_ms"]),
                Direction(row["direction"]),
                Cause(row["cause"]) if row["cause"] else None,
                row["local_endpoint"],
                row["remote_endpoint"],
            )
        )

    def _target(self, host: Host, row: Row) -> Node:
        state = row["peer_state"]
        activity = PeerActivity(state) if state else None
        if row["peer_pid"] is not None:
            does = ACTIVITIES[activity] if activity else _NOT_REPORTED
            process = Process(row["peer_pid"], 0, row["peer_comm"] or "")
            seen = Member(process, activity, does, host=self._label(host))
            number = self._number((host, process.pid), seen)
            if activity is not None:  # seen on this connection, by the host of both
                self._members[number] = replace(self._members[number], activity=activity, does=does)
            return number
        if row["peer_hosts"] == 1:
            there = Host(row["other_host"], row["other_boot_id"])
            process = Process(row["other_pid"], 0, "")
            unknown = Member(process, None, _NOT_REPORTED, host=self._label(there))
            return self._number((there, process.pid), unknown)
        if row["peer_hosts"] > 1:
            self.ambiguous += 1
        address = row["remote_endpoint"].rpartition(":")[0].strip("[]")
        if activity is not None or _is_loopback(address):  # it is of this host
            return Outside(address, streams=True, host=self._label(host))
        hosts = self._hosts.get(address, set())
        only = next(iter(hosts)) if len(hosts) == 1 else None
        return Outside(address, streams=True, host=self._label(only) if only else None)

    def _number(self, key: _Key, seen: Member | None = None) -> int:
        """Return the node of a process; what its own host has reported of it counts first."""
        if key not in self._numbers:
            number = self._numbers[key] = len(self._numbers) + 1
            member = self._known.get(key, seen)
            assert member is not None
            self._members[number] = member
        return self._numbers[key]

    def _member(
        self, host: Host, row: Row, activity: PeerActivity | None, does: str | None
    ) -> Member:
        job = None
        if row["job_id"] is not None:
            job = Job(row["job_id"], row["job_rank"])
            if job.rank is not None:
                self._ranks.setdefault(job.job_id, set()).add(job.rank)
        process = Process(row["pid"], 0, row["comm"] or "")
        return Member(process, activity, does, job, host=self._label(host))

    def _label(self, host: Host) -> str:
        """Return the name of a host; of several with one name also the begin of the boot id."""
        return f"{host.name}/{host.boot_id[:8]}" if host.name in self._shared else host.name

    def graph(self) -> Graph:
        """Return the graph of what was added."""
        return Graph(self._members, tuple(self._waits))


def _host(row: Row) -> Host:
    return Host(row["host"], row["boot_id"])


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
