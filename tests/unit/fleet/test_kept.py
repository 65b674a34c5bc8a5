"""What is kept of a file where it has too much."""

from __future__ import annotations

from collections import Counter

from support.fleet import BEGUN_MS, PID, holds, lines, origin, starts, waits

from xctl_probe.events import PeerActivity, State
from xctl_probe.fleet.kept import Lives, Reports, Stalls
from xctl_probe.fleet.rows import rows_of

MOMENT_MS = BEGUN_MS + 30_000


def rows(record, rank=0):
    line = lines(origin(rank), record)[:-1]
    return [row for _, row in rows_of(line, "", 1_000, Counter())]


def lives(*records, most=3):
    found = Lives(most)
    for rank, record in records:
        for row in rows(record, rank):
            found.add(row)
    kept = [(row["pid"] - PID, row["value"], row["ts_ms"] - BEGUN_MS) for row in found.all()]
    return kept, found.left_out


def test_what_each_file_repeats_is_kept_once():
    """With the earliest time, in any order of the files."""
    for order in (1, -1):
        times = [300, 0, 600][::order]
        assert lives(*((0, starts(0, at)) for at in times)) == ([(0, "start", 0)], 0)


def test_of_one_pid_the_last_few_processes_are_kept():
    many = [(0, starts(0, at, state)) for at in range(1_000) for state in (State.START, State.EXIT)]
    kept, left_out = lives(*many)
    assert [what for _, what, _ in kept] == ["start", "exit"] * 2
    assert (kept[-1], left_out) == ((0, "exit", 999_000), 0)


def test_who_has_exited_makes_room():
    """Who exited first; else who comes last is left out."""
    records = [(rank, starts(rank, rank)) for rank in range(3)]
    records += [(1, starts(1, 7, State.EXIT)), (0, starts(0, 8, State.EXIT))]
    kept, left_out = lives(*records, *((rank, starts(rank, 9)) for rank in (3, 4, 5)))
    assert ({pid for pid, _, _ in kept}, left_out) == ({2, 3, 4}, 5)


def test_stalls_closest_to_the_moment_are_kept():
    found = Stalls(MOMENT_MS, most=3)
    for second in (1, 33, 29, 2, 30, 3, 60):
        for row in rows(waits(0, 1, second)):
            found.add(row)
    assert sorted(row["ts_ms"] - BEGUN_MS for row in found.all()) == [29_000, 30_000, 33_000]
    assert found.left_out == 4


def reports(*records, most=9):
    found = Reports(MOMENT_MS, most)
    for record in records:
        process, *connections = rows(record)
        found.add(process, connections)
    return found


def test_of_each_process_one_report_counts():
    """The last one before the moment, which may have several lines; else the first one after it."""
    seen = PeerActivity.STOPPED
    parts = [holds(0, [1], 29, seen), holds(0, [2, 3], 29, seen)]
    found = reports(holds(0, [4], 10), *parts, holds(0, [5], 28), holds(0, [6], 31))
    assert [row["state"] for row in found.processes()] == ["stopped"]
    assert len(found.connections()) == 3
    found = reports(holds(0, [4], 33), holds(0, [5, 6], 31), holds(0, [7], 32))
    assert len(found.connections()) == 2


def test_what_no_longer_counts_makes_room():
    many = [holds(0, [1, 2, 3], second) for second in range(30)]
    found = reports(*many, most=3)
    assert (len(found.connections()), found.left_out) == (3, 0)
    found = reports(*many, holds(1, [1], 29), holds(2, [1], 29), most=3)
    assert (len(found.connections()), len(found.processes()), found.left_out) == (3, 3, 2)
