"""CPU and memory of who uses the network: since the last reading, and of a bounded number."""

from __future__ import annotations

import os

import pytest
from support.fake_proc import FakeProcess
from support.records import SOCKET

from xctl_probe.aggregate import Filter
from xctl_probe.events import (
    Direction,
    DroppedEvents,
    InterfaceDelta,
    Process,
    ProcessLoad,
    Stall,
    TrafficDelta,
)
from xctl_probe.sources import process_loads as module
from xctl_probe.sources.process_loads import ProcessLoads

ONE, OTHER = Process(233, 7_001, "train"), Process(239, 7_003, "train")
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK_NS = SECOND_NS // os.sysconf("SC_CLK_TCK")
MEMORY = os.sysconf("SC_PHYS_PAGES") * PAGE


def used(*processes):
    return [TrafficDelta(process, "eth0", 7, 0) for process in processes]


class Room:
    """Processes whose files have what the test wants."""

    def __init__(self, folder, wanted=None):
        self.folder = folder
        self.loads = ProcessLoads(wanted or Filter(), folder)

    def set(self, process, ticks=(0, 0), pages=0, state=b"S"):
        user, system = ticks
        numbers = [b"1"] * 10 + [b"%d" % n for n in (user, system)] + [b"0"] * 6
        numbers += [b"%d" % process.start_ticks, b"0", b"%d" % pages]
        line = b"%d (a) b) %s %s 0\n" % (process.pid, state, b" ".join(numbers))
        FakeProcess(self.folder, process.pid).write("stat", line)

    def after(self, seconds, *events):
        return self.loads.collect(events, round(seconds * SECOND_NS))


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


def test_the_first_reading_begins_and_each_next_counts_since_the_last(room):
    room.set(ONE, (1_000, 100), 7)
    assert room.after(10, *used(ONE)) == []
    room.set(ONE, (1_030, 101), 23)
    assert room.after(12) == [ProcessLoad(ONE, 31 * TICK_NS, 2 * SECOND_NS, 23 * PAGE, MEMORY)]
    assert room.after(13) == [ProcessLoad(ONE, 0, SECOND_NS, 23 * PAGE, MEMORY)]


def test_who_waits_uses_the_network_and_an_interface_has_no_process(room):
    room.set(ONE)
    room.after(1, Stall(ONE, SOCKET, Direction.SEND, 7, True), InterfaceDelta("eth0", *[0] * 6))
    assert [load.owner for load in room.after(2)] == [ONE]


def test_it_is_read_once_a_second_in_shorter_intervals(room):
    room.set(ONE)
    room.after(1, *used(ONE))
    assert room.after(1.5, *used(ONE)) == []
    (load,) = room.after(2)
    assert load.elapsed_ns == SECOND_NS


def test_it_is_read_for_a_minute_after_its_last_use(room):
    room.set(ONE)
    room.after(1, *used(ONE))
    assert [load.owner for load in room.after(61)] == [ONE]
    assert room.after(62) == []


@pytest.mark.parametrize("state", [b"Z", b"X"])
def test_a_process_that_has_exited_has_no_load(room, state):
    """A parent that has not waited for it yet keeps its files."""
    room.set(ONE)
    room.after(1, *used(ONE))
    room.set(ONE, (50, 0), state=state)
    assert room.after(2) == []


def test_a_process_whose_first_thread_has_exited_has_a_load(room):
    """The first thread shows the CPU of all, and no memory."""
    room.set(ONE, (1_000, 100), state=b"Z")
    living = Process(ONE.pid + 1, 7_007, "train")
    room.set(living, (1_000, 100), 23)
    (room.folder / f"{ONE.pid}/task/{ONE.pid}").mkdir()
    (room.folder / f"{ONE.pid}/task/{living.pid}").mkdir()
    room.after(1, *used(ONE))
    room.set(ONE, (1_030, 101), state=b"Z")
    assert room.after(2) == [ProcessLoad(ONE, 31 * TICK_NS, SECOND_NS, 23 * PAGE, MEMORY)]
    room.set(living, state=b"Z")
    assert room.after(3) == []


def test_a_pid_that_is_used_again_is_another_process(room):
    room.set(ONE)
    room.after(1, *used(ONE))
    room.set(Process(ONE.pid, 7_013, "other"), (5_000, 0))
    assert room.after(2) == []


def test_a_process_that_is_gone_is_forgotten(room):
    assert room.after(1, *used(ONE)) == []
    assert room.after(2) == []


def test_only_what_is_wanted_is_read(tmp_path):
    room = Room(tmp_path, Filter(pids=frozenset({OTHER.pid})))
    for process in (ONE, OTHER):
        room.set(process)
    room.after(1, *used(ONE, OTHER))
    assert [load.owner for load in room.after(2)] == [OTHER]


def test_a_port_may_be_wanted_by_the_name_of_its_interface(tmp_path):
    room = Room(tmp_path, Filter(interfaces=frozenset({"eth0"})))
    for process in (ONE, OTHER):
        room.set(process)
    ports = [TrafficDelta(ONE, "mlx5_0", 7, 0, of_port=True), TrafficDelta(OTHER, "lo", 7, 0)]
    room.after(1, *ports)
    assert [load.owner for load in room.after(2)] == [ONE]


def test_more_than_there_are_places_for_are_counted_by_user(room, monkeypatch):
    """Each has its turn, and counts since it was read itself."""
    monkeypatch.setattr(module, "_MOST_READ", 3)
    crowd = [Process(1_000 + n, 7_001, "crowd") for n in range(5)]
    for process in crowd:
        room.set(process)
    assert room.after(1, *used(*crowd)) == [DroppedEvents("loads", 2, os.geteuid())]
    seen = set()
    for second in range(2, 9):
        *loads, lost = room.after(second, *used(*crowd))
        assert lost == DroppedEvents("loads", 2, os.geteuid())
        assert len(loads) <= 3
        seen |= {load.owner for load in loads}
    assert seen == set(crowd)


def test_those_that_are_gone_are_of_no_user(room, monkeypatch):
    monkeypatch.setattr(module, "_MOST_READ", 1)
    assert room.after(1, *used(ONE, OTHER)) == [DroppedEvents("loads", 1)]


def test_no_more_are_known_than_there_is_memory_for(room, monkeypatch):
    monkeypatch.setattr(module, "_MOST_KNOWN", 1)
    for process in (ONE, OTHER):
        room.set(process)
    assert room.after(1, *used(ONE, OTHER, OTHER)) == [DroppedEvents("loads", 1)]
