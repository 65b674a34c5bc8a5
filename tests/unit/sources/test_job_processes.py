"""A process of a job starts once, and exits after its last stall."""

from __future__ import annotations

import pytest
from support.records import SOCKET

from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.events import (
    Direction,
    DroppedEvents,
    InterfaceDelta,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessState,
    QueuePairErrors,
    SocketError,
    Stall,
    State,
    TrafficDelta,
)
from xctl_probe.events import ErrorKind as Kind
from xctl_probe.exporters.records import ProcessRecord
from xctl_probe.sources import job_processes as module
from xctl_probe.sources.job_processes import JobProcesses

ONE, OTHER = Process(233, 7_001, "train"), Process(239, 7_003, "train")
JOB, NO_JOB = Placement("4711", rank=3), Placement(container="c0ffee00" * 8)
MOVED = TrafficDelta(ONE, "eth0", 7, 0)
REFUSED = PortErrors("mlx5_0", PortErrorKind.RNR, 7, (), None, ONE)


class Jobs:
    """Placements as the test has them: a change is reported once."""

    def __init__(self):
        self.placements, self.reported, self.asked = {ONE: JOB, OTHER: NO_JOB}, {}, []

    def find(self, processes, _now_ns):
        self.asked.append(processes)
        changed = [p for p in processes if self.reported.get(p) != self.placements.get(p)]
        self.reported |= {p: self.placements.get(p) for p in changed}
        return changed

    def placement(self, process):
        return self.placements.get(process)

    def close(self):
        pass


class Exits:
    def __init__(self):
        self.watched, self.gone = [], []

    def watch(self, process):
        self.watched.append(process)

    def ended(self):
        gone, self.gone = self.gone, []
        return gone

    def close(self):
        pass


class Room:
    def __init__(self, wanted=None, states=True):
        self.jobs, self.exits = Jobs(), Exits()
        self.processes = JobProcesses(
            wanted or Filter(), states=states, jobs=self.jobs, exits=self.exits
        )

    def collect(self, *events):
        return self.processes.collect(events, 7)


@pytest.fixture
def room():
    return Room()


def stall(owner=ONE):
    return Stall(owner, SOCKET, Direction.RECEIVE, 10**9, False)


@pytest.mark.parametrize(
    "event",
    [
        MOVED,
        stall(),
        SocketError(ONE, SOCKET, Kind.RESET, 1),
        QueuePairErrors(ONE, "mlx5_0", 1, 7, None, "RC", "ERR"),
        REFUSED,
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_process_of_a_job_that_uses_the_network_starts_once(room, event):
    assert room.collect(event, event) == [ProcessState(ONE, JOB, State.START)]
    assert room.collect(event) == []
    assert room.exits.watched == [ONE]


def test_other_processes_do_not_start(room):
    """A container is no job, and an interface no process."""
    events = TrafficDelta(OTHER, "eth0", 7, 0), TrafficDelta(None, "eth0", 7, 0)
    assert room.collect(*events, InterfaceDelta("eth0", 0, 0, 0, 0, 0, 0)) == []
    assert room.jobs.asked == [{OTHER}]
    assert room.exits.watched == []


def test_another_job_is_another_start(room):
    room.collect(MOVED)
    room.jobs.placements[ONE] = Placement("4713")
    assert room.collect(MOVED) == [ProcessState(ONE, Placement("4713"), State.START)]
    room.jobs.placements[ONE] = Placement("4713", rank=5)
    assert room.collect(MOVED) == []
    assert room.exits.watched == [ONE]


def test_the_exit_comes_an_interval_after_it_was_found(room):
    """The last stalls of a process are found when its sockets are."""
    room.collect(MOVED)
    room.exits.gone = [ONE]
    assert room.collect() == []
    assert room.collect() == [ProcessState(ONE, JOB, State.EXIT)]
    assert room.collect() == []


def test_the_exit_comes_after_the_last_stall(room):
    room.collect(MOVED)
    room.exits.gone = [ONE]
    for events in ([], [stall()], [stall(), MOVED]):
        assert room.collect(*events) == []
    assert room.collect(stall(OTHER), MOVED) == [ProcessState(ONE, JOB, State.EXIT)]


def test_a_pid_that_is_used_again_starts_again(room):
    """The former process is replaced; its exit would be that of the later one."""
    later = Process(ONE.pid, 7_007, "train")
    room.jobs.placements[later] = JOB
    room.collect(MOVED)
    room.exits.gone = [ONE]
    room.collect()
    found = room.collect(TrafficDelta(later, "eth0", 7, 0))
    assert found == [ProcessState(later, JOB, State.START)]
    assert room.collect() == []
    room.exits.gone = [later, ONE]
    room.collect()
    assert room.collect() == [ProcessState(later, JOB, State.EXIT)]


def test_the_processes_that_are_watched_are_bounded(room, monkeypatch):
    monkeypatch.setattr(module, "_MOST_STARTED", 1)
    room.jobs.placements[OTHER] = JOB
    found = room.collect(MOVED, TrafficDelta(OTHER, "eth0", 7, 0))
    assert [type(event) for event in found] == [ProcessState, DroppedEvents]
    assert found[1] == DroppedEvents("processes", 1)


def test_without_states_jobs_are_found_all_the_same():
    room = Room(states=False)
    assert room.collect(MOVED) == []
    assert room.processes.placement(ONE) == JOB
    assert room.exits.watched == []


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        (Filter(pids=frozenset({OTHER.pid})), set()),
        (Filter(pids=frozenset({ONE.pid})), {ONE}),
        (Filter(interfaces=frozenset({"lo"})), set()),
        (Filter(interfaces=frozenset({"eth0"})), {ONE}),
    ],
)
def test_nothing_is_read_about_processes_that_are_not_wanted(wanted, asked):
    room = Room(wanted)
    room.collect(MOVED)
    assert room.jobs.asked == [asked]


@pytest.mark.parametrize(
    "event",
    [
        TrafficDelta(ONE, "mlx5_0", 7, 0, of_port=True),
        QueuePairErrors(ONE, "mlx5_0", 1, 7, None, "RC", "ERR"),
        REFUSED,
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_port_may_be_wanted_by_the_name_of_its_interface(event):
    """Its events are there because it is wanted."""
    room = Room(Filter(interfaces=frozenset({"eth0"})))
    assert room.collect(event) == [ProcessState(ONE, JOB, State.START)]


def test_records_have_the_placement_of_their_process():
    """A start comes before the first record with its pid, an exit after the last one."""
    failed = SocketError(ONE, SOCKET, Kind.RESET, 1)
    pairs = QueuePairErrors(ONE, "mlx5_0", 1, 7, None, "RC", "ERR")
    states = [ProcessState(ONE, JOB, State.EXIT), ProcessState(OTHER, NO_JOB, State.START)]
    idle = InterfaceDelta("eth0", 7, 7, 0, 0, 0, 0)
    events = [*states, MOVED, idle, stall(), failed, pairs, REFUSED]
    placed = {ONE: JOB}.get
    records = [*aggregate(events, Filter(min_mbps=0.0), 10**9, 7, placed)]
    assert isinstance(records[0], ProcessRecord)
    assert isinstance(records[-1], ProcessRecord)
    assert [r.state for r in (records[-1], records[0])] == states
    inner = records[1:-1]
    assert [r.placement for r in inner] == [JOB if r.owner else None for r in inner]
    assert sum(r.placement is JOB for r in inner) == 5
