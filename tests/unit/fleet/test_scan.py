"""The first pass finds the same in a recording, whose members have summaries, as in plain lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleet import BEGUN_MS, JOB, PID, beat, holds, lines, origin, starts, waits

from xctl_probe.events import State
from xctl_probe.fleet import streams
from xctl_probe.fleet.scan import Asked, Read, Task, read, scan
from xctl_probe.recordings.members import pack

INTERVALS = [
    [
        beat(second),
        *([starts(0, second)] if second == 0 else []),
        *([holds(0, [1, 2], second)] if second % 7 == 0 else []),
        *([waits(0, 1, second)] if second in (3, 11, 12, 13) else []),
        *([waits(0, 2, second), waits(5, 2, second)] if second == 12 else []),
        *([waits(0, 3, second, ongoing=False)] if second == 14 else []),
        *([starts(0, second, State.EXIT)] if second == 17 else []),
    ]
    for second in range(19)
]
FOUND = dict.fromkeys((3, 11, 13), 1) | {12: 3}


@pytest.fixture
def forms(tmp_path):
    """The same records as lines, and as a recording."""

    def make(intervals):
        parts = [lines(origin(0), *records) for records in intervals]
        plain, recorded = tmp_path / "plain.ndjson", tmp_path / "recorded.ndjson.gz"
        plain.write_bytes(b"".join(parts))
        recorded.write_bytes(b"".join(pack(part.splitlines(True)) for part in parts))
        return plain, recorded

    return make


@pytest.fixture
def inflated(monkeypatch):
    """How many members are decompressed."""
    made = []
    real = streams.zlib.decompressobj

    def counted(**form):
        made.append(form)
        return real(**form)

    monkeypatch.setattr(streams.zlib, "decompressobj", counted)
    return made


ALL = Asked()


def result(path, asked=ALL, since_ms=0):
    found = scan(Task(path, "node0", asked, since_ms))
    assert (found.refused, found.problems, found.left_out) == (None, {}, 0)
    begun_s = BEGUN_MS // 1_000
    return (
        {second - begun_s: count for second, count in found.waits.items()},
        found.processes,
        found.records,
        found.interval_ms,
    )


@pytest.mark.parametrize(
    ("asked", "since_s", "waits_of"),
    [
        (Asked(), 0, FOUND),
        (Asked(), 12, {12: 3, 13: 1}),
        (Asked(pid=PID), 0, FOUND | {12: 2}),
        (Asked(pid=PID + 5), 0, {12: 1}),
        (Asked(job=JOB), 13, {13: 1}),
        (Asked(job="4"), 0, {}),
    ],
)
def test_a_recording_has_the_waits_of_its_lines(forms, asked, since_s, waits_of):
    plain, recorded = forms(INTERVALS)
    found = result(recorded, asked, BEGUN_MS + since_s * 1_000)
    assert found == result(plain, asked, BEGUN_MS + since_s * 1_000)
    assert found[0] == waits_of
    assert [row["value"] for row in found[1]] == ["start", "exit"]
    assert found[2] == sum(map(len, INTERVALS))


def test_only_what_is_needed_is_decompressed(forms, inflated):
    """Begins and exits of processes; with a process or job also the waits."""
    _, recorded = forms(INTERVALS)
    result(recorded)
    assert len(inflated) == 2
    result(recorded, Asked(pid=PID))
    assert len(inflated) == 2 + 6


def test_the_second_pass_decompresses_the_moment_only(forms, inflated):
    plain, recorded = forms(INTERVALS)
    answers = []
    for path in (plain, recorded):
        task = Task(path, "node0", Asked(), 0)
        places = [span.place for span in scan(task).spans]
        inflated.clear()
        when = [BEGUN_MS + second * 1_000 for second in (7, 11, 12, 12)]
        answers.append(read(Read(task, places, 1_000, *when)))
    assert answers[0] == answers[1]
    assert {table: len(rows) for table, rows in answers[1].rows.items()} == {
        "stalls": 4,
        "connections": 2,
        "processes": 1,
    }
    assert len(inflated) == 6


SECONDS = st.lists(st.integers(0, 40), min_size=1, max_size=9).map(sorted)


@given(SECONDS, st.sets(st.integers(1, 5), min_size=1, max_size=3), st.sampled_from([250, 1_000]))
def test_short_intervals_count_a_connection_once_a_second(tmp_path_factory, times, peers, ms):
    """A connection that waits in every interval, whatever is in one member."""
    folder = tmp_path_factory.mktemp("short")
    parts = [
        lines(None, beat(at / 4, ms), *(waits(0, peer, at / 4) for peer in sorted(peers)))
        for at in times
    ]
    for name, data in (
        ("plain", b"".join(parts)),
        ("recorded", b"".join(pack(part.splitlines(True)) for part in parts)),
        ("one", pack(b"".join(parts).splitlines(True))),
    ):
        (folder / name).write_bytes(data)
        found, *_ = result(folder / name)
        assert found == {at // 4: len(peers) for at in times}


@pytest.mark.parametrize(
    ("ms", "seconds"), [(250, 1), (1_000, 1), (1_006, 1), (1_900, 2), (10_060, 10)]
)
def test_a_wait_counts_once_in_each_second(tmp_path, ms, seconds):
    """Whatever the length of the interval; also where lines of several hosts are not sorted."""
    times = [number * ms / 1_000 for number in (0, 1, 2, 3)]
    parts = [lines(None, beat(at, ms), waits(0, 1, at), waits(0, 2, at)) for at in times]
    covered = {int(at) + more for at in times for more in range(seconds)}
    for name, data in (
        ("plain", b"".join(parts)),
        ("recorded", b"".join(pack(part.splitlines(True)) for part in parts)),
        ("unsorted", b"".join(parts[at] for at in (2, 0, 3, 1))),
    ):
        (tmp_path / name).write_bytes(data)
        found, *_ = result(tmp_path / name)
        assert found == dict.fromkeys(covered, 2)
