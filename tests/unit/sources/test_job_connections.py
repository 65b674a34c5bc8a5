"""Connections of the processes of jobs: emitted once they are known, and again in turns."""

from __future__ import annotations

import json

from support.fake_helper import FakeHelper

from xctl_probe.events import (
    Connection,
    DroppedEvents,
    PeerActivity,
    Placement,
    Process,
    ProcessState,
    State,
)
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.origin import Origin, with_origin
from xctl_probe.exporters.records import ProcessRecord
from xctl_probe.linux.process_connections import Held
from xctl_probe.sources.job_connections import AGAIN_NS, PART, JobConnections

RANK = Process(3_001, 7, "train")
WHERE = Placement(job_id="4711", rank=1)
BEGUN_NS = 10**12
SECOND_NS = 10**9


def pairs(count):
    return tuple(Connection(f"10.0.0.1:{5_000 + n}", "10.0.0.2:40009") for n in range(count))


def answering(held):
    """A helper that knows what each pid holds."""
    return FakeHelper(lambda request: held.get(request.pid))


def holds(count, activity=None, left_out=0):
    return Held(pairs(count), left_out, activity, 1_000)


def state(connections, activity=None):
    return ProcessState(RANK, WHERE, State.CONNECTED, tuple(connections), activity)


def test_what_changes_is_emitted_at_once_and_all_else_again_after_a_while():
    held = {RANK.pid: holds(2)}
    answers = answering(held)
    job = JobConnections(helper=answers)

    def at(second):
        return job.collect({RANK: WHERE}, BEGUN_NS + second * SECOND_NS)

    assert at(0) == [state(pairs(2))]
    assert at(1) == []
    held[RANK.pid] = holds(2, PeerActivity.STOPPED)
    assert at(2) == [state(pairs(2), PeerActivity.STOPPED)]
    assert at(3) == []
    assert at(2 + AGAIN_NS // SECOND_NS) == [state(pairs(2), PeerActivity.STOPPED)]
    held[RANK.pid] = holds(0)
    assert at(14) == [state(())]  # what was emitted is over
    assert at(15) == at(60) == []


def test_many_connections_are_several_events():
    job = JobConnections(helper=answering({RANK.pid: holds(PART + 1)}))
    events = job.collect({RANK: WHERE}, BEGUN_NS)
    assert events == [state(pairs(PART + 1)[:PART]), state(pairs(PART + 1)[PART:])]


def test_what_is_left_out_is_counted_once():
    job = JobConnections(helper=answering({RANK.pid: holds(1, left_out=23)}))
    _, dropped = job.collect({RANK: WHERE}, BEGUN_NS)
    assert dropped == DroppedEvents("connections", 23, -1)
    assert job.collect({RANK: WHERE}, BEGUN_NS + AGAIN_NS) == [state(pairs(1))]


def test_all_processes_together_have_a_limit():
    ranks = {Process(3_000 + n, 7, "train"): WHERE for n in range(9)}
    job = JobConnections(helper=answering({one.pid: holds(1_024) for one in ranks}))
    events = job.collect(ranks, BEGUN_NS)
    emitted = sum(len(one.connections) for one in events if isinstance(one, ProcessState))
    assert emitted == 8_192
    # The ninth has no place: it is counted.
    assert [one.count for one in events if isinstance(one, DroppedEvents)] == [1_024]


def test_a_late_answer_is_taken_in_a_later_interval():
    answers = answering({})
    job = JobConnections(helper=answers)
    assert job.collect({RANK: WHERE}, BEGUN_NS) == []
    answers.comes(holds(1))
    assert job.collect({RANK: WHERE}, BEGUN_NS + SECOND_NS) == [state(pairs(1))]


def test_a_process_that_has_exited_is_forgotten():
    answers = answering({RANK.pid: holds(1)})
    job = JobConnections(helper=answers)
    job.collect({RANK: WHERE}, BEGUN_NS)
    assert job.collect({}, BEGUN_NS + SECOND_NS) == []
    assert job.collect({RANK: WHERE}, BEGUN_NS + 2 * SECOND_NS) == [state(pairs(1))]


def test_the_longest_line_is_written_at_once():
    """It fits into PIPE_BUF, whatever the names are."""
    address = "[" + ":".join(["ffff"] * 8) + "]:65535"
    where = Placement("j" * 150, "0" * 36, "p" * 253, "n" * 253, "c" * 64, 999_999_999, 15)
    process = Process(2**22, 7, "\x01" * 15)
    event = ProcessState(
        process, where, State.CONNECTED, (Connection(address, address),) * PART, None
    )
    line = with_origin(to_line, Origin("h" * 64, "0" * 36))(ProcessRecord(10**13, event))
    assert len(line) <= 4_096
    assert len(json.loads(line)["net"]["connections"]) == PART
