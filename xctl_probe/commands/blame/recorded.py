"""`blame --since`: the graph of waits at the moment of a recording at which most sockets waited."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import orjson

from xctl_probe.commands.blame.collect import Collected
from xctl_probe.commands.blame.graph import Graph, Member, Node, Outside, Wait
from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.blame.report import to_json, to_text
from xctl_probe.commands.recorded import (
    ACTIVITIES,
    Window,
    notes,
    nothing_recorded,
    recording_since,
)
from xctl_probe.config.settings import Settings
from xctl_probe.events import PeerActivity, Process, Stall, State
from xctl_probe.exporters.labels import local, remote
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.records import ProcessRecord, StallRecord
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.recordings.history import Coverage
from xctl_probe.recordings.reader import Interval, Recording

_NS_PER_MS = 1_000_000
_STALL, _ONGOING, _UNATTRIBUTED = b'"event_type":"transport.drop"', b'"ongoing":true', b'"pid":null'
_PROBABLE = b'"probable":true'
_STATE = b'"event_type":"process.state"'
_NOT_RECORDED = "what it did is not recorded"


@dataclass(frozen=True, slots=True)
class Begun:
    """What the begin of a process names: its job, and its comm of then."""

    job: Job
    comm: str


@dataclass(frozen=True, slots=True)
class Moment:
    """An interval of a recording, and the processes of jobs that had begun by then, by pid."""

    interval: Interval
    waits: int
    begun: dict[int, Begun] = field(default_factory=dict)


def run(
    settings: Settings, stdout: int, *, pid: int | None, job: str | None, as_json: bool, since: str
) -> None:
    """Write the answer to `stdout`.

    Raises UsageError where there is no recording to read, or nothing of this time in it.
    """
    with recording_since("blame", since, settings.record) as (recording, window):
        coverage = Coverage()
        moment = busiest(recording, window, coverage, pid=pid, job=job)
        if coverage.last_ms is None and settings.record is not None:
            raise nothing_recorded("blame", since, settings.record)
        about = tuple(notes(recording, coverage, window))
    collected = collect(moment, about, pid=pid, job=job)
    subject = f"process {pid}" if pid is not None else None
    if job is not None and subject is None:
        subject = f"job {job}"
    when = f"since {window.clock(window.since_ms)}"
    if moment is not None:
        when = f"at {window.clock(moment.interval.ts_ms)}, the moment of most waits {when}"
    if as_json:
        answer: dict[str, Any] = orjson.loads(to_json(collected, subject))
        answer["ts"] = None if moment is None else moment.interval.ts_ms
        write_answer(stdout, ascii_json(answer))
        return
    width = os.get_terminal_size(stdout).columns if os.isatty(stdout) else None
    text = to_text(collected, subject, width or None)
    write_answer(stdout, f"{when}:\n".encode("ascii") + text)


def busiest(
    recording: Recording, window: Window, coverage: Coverage, *, pid: int | None, job: str | None
) -> Moment | None:
    """Return the interval with most waits, of one process or job or of all; of several the last.

    None where none has a wait.  `coverage` gets the intervals.
    """
    marks = [_STALL, _ONGOING]
    if pid is not None:
        marks.append(b'"pid":%d,' % pid)
    elif job is not None:
        marks.append(b'"job_id":' + json.dumps(job).encode())
    found: Moment | None = None
    begun: dict[int, Begun] = {}
    for interval in recording.intervals(window.since_ms, lead=True):
        _note_begun(begun, interval)
        if interval.ts_ms < window.since_ms:
            continue
        coverage.add(interval)
        waits = sum(
            all(mark in line for mark in marks)
            and _UNATTRIBUTED not in line
            and _PROBABLE not in line
            for line in interval.lines
        )
        if waits and (found is None or waits >= found.waits):
            found = Moment(interval, waits, dict(begun))
    return found


def _note_begun(begun: dict[int, Begun], interval: Interval) -> None:
    for record in interval.records(lambda line: _STATE in line):
        if isinstance(record, ProcessRecord):
            placement = record.placement
            if record.state.state is State.START and placement.job_id is not None:
                job = Job(placement.job_id, placement.rank)
                begun[record.owner.pid] = Begun(job, record.owner.comm)
            elif record.state.state is State.EXIT:
                begun.pop(record.owner.pid, None)


def collect(
    moment: Moment | None, about: tuple[str, ...], *, pid: int | None, job: str | None
) -> Collected:
    """Return the graph of this moment: of one process, of one job, or of all."""
    if moment is None:
        return Collected(Graph({}), "recording", about, {})
    trail = _Trail(moment.begun)
    for record in moment.interval.records(lambda line: _STALL in line):
        # What is only probable is left out: a recording has it on request only.
        if isinstance(record, StallRecord) and record.stall.ongoing and not record.stall.probable:
            trail.add(record)
    graph = trail.graph()
    if pid is not None:
        graph = graph.part([pid])
    if job is not None:
        wanted = [
            one for one in graph.members if (known := trail.jobs.get(one)) and known.job_id == job
        ]
        graph = graph.part(wanted)
    if trail.unattributed:
        who = "processes that were not visible to the probe"
        about = (*about, f"{trail.unattributed} waits are of {who}, and are left out")
    # Of the processes that have begun, not of those that wait: their number is that of the waiters.
    begun = {node: one.job for node, one in moment.begun.items() if node in trail.jobs}
    return Collected(graph, "recording", about, _sizes(begun))


class _Trail:
    """The processes and waits of one interval."""

    def __init__(self, begun: dict[int, Begun]) -> None:
        self._begun = begun
        self.jobs = {pid: one.job for pid, one in begun.items()}
        self.unattributed = 0
        self._waits: list[Wait] = []
        self._processes: dict[int, Process] = {}
        self._activities: dict[int, PeerActivity] = {}

    def add(self, record: StallRecord) -> None:
        """Add a wait."""
        stall, owner, placement = record.stall, record.owner, record.placement
        if owner is None:
            self.unattributed += 1
            return
        if placement is not None and placement.job_id is not None:
            self.jobs[owner.pid] = Job(placement.job_id, placement.rank)
        elif (begun := self._begun.get(owner.pid)) and begun.comm != owner.comm:
            # Another process has the pid by now: the probe did not run when the former one exited.
            self.jobs.pop(owner.pid, None)
        self._processes[owner.pid] = owner
        self._waits.append(
            Wait(
                owner.pid,
                self._target(stall),
                stall.duration_ns / _NS_PER_MS,
                stall.direction,
                stall.cause,
                local(stall.socket),
                remote(stall.socket),
            )
        )

    def _target(self, stall: Stall) -> Node:
        peer, activity = stall.peer, stall.peer_activity
        if peer is None:
            return Outside(stall.socket.remote_address, hidden=activity is not None)
        self._processes.setdefault(peer.pid, peer)
        if activity is not None:
            self._activities[peer.pid] = activity
        return peer.pid

    def graph(self) -> Graph:
        """Return the graph of what was added."""
        waiters = {wait.waiter for wait in self._waits}
        members = {
            pid: self._member(process, waits=pid in waiters)
            for pid, process in self._processes.items()
        }
        return Graph(members, tuple(self._waits))

    def _member(self, process: Process, *, waits: bool) -> Member:
        activity = self._activities.get(process.pid)
        does = None if waits else _NOT_RECORDED
        if activity is not None:
            does = ACTIVITIES[activity]
        return Member(process, activity, does, self.jobs.get(process.pid))


def _sizes(jobs: dict[int, Job]) -> dict[str, int]:
    """Return the number of ranks of each job."""
    ranks: dict[str, set[int]] = {}
    for job in jobs.values():
        if job.rank is not None:
            ranks.setdefault(job.job_id, set()).add(job.rank)
    return {job_id: len(found) for job_id, found in ranks.items()}
