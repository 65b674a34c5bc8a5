"""`blame --since`: the moment of most waits, and the graph of it."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.recording import record_all
from support.records import STALL

from xctl_probe.commands.blame.recorded import busiest, collect, run
from xctl_probe.commands.blame.report import headline, to_text
from xctl_probe.commands.recorded import Window
from xctl_probe.errors import UsageError
from xctl_probe.events import PeerActivity, Placement, Process, ProcessState, State
from xctl_probe.exporters.records import BandwidthRecord, ProcessRecord, StallRecord
from xctl_probe.recordings.history import Coverage
from xctl_probe.recordings.reader import Recording

BEGUN_MS = 1_700_000_000_000
WINDOW = Window(BEGUN_MS, BEGUN_MS + 600_000)
RANKS = [Process(3_000 + rank, 0, "train") for rank in range(4)]
WHERE = [Placement(job_id="4711", rank=rank) for rank in range(4)]


def interval(second, *records):
    ts_ms = BEGUN_MS + second * 1_000
    made = [_at(ts_ms, one) for one in records]
    return [*made, BandwidthRecord(ts_ms, "lo", None, 0, 0, 1_000_000_000, 0)]


def _at(ts_ms, one):
    return replace(one, ts_ms=ts_ms)


def state(rank, which=State.START):
    return ProcessRecord(0, ProcessState(RANKS[rank], WHERE[rank], which))


def waits(rank, for_rank=None, ms=1_300, seen=None, ongoing=True):
    """A stall of a rank, for another one or for an address outside this host."""
    stall = replace(
        STALL,
        owner=RANKS[rank],
        peer=None if for_rank is None else RANKS[for_rank],
        peer_activity=seen,
        duration_ns=ms * 1_000_000,
        ongoing=ongoing,
    )
    return StallRecord(0, stall, WHERE[rank])


STOPPED = PeerActivity.STOPPED


@pytest.fixture
def asked(tmp_path):
    """The moment and what is collected of it."""

    def ask(*intervals, pid=None, job=None, window=WINDOW):
        record_all(tmp_path / "ring", intervals)
        with closing(Recording(tmp_path / "ring")) as recording:
            moment = busiest(recording, window, Coverage(), pid=pid, job=job)
        return moment, collect(moment, (), pid=pid, job=job)

    return ask


def second(moment):
    return (moment.interval.ts_ms - BEGUN_MS) // 1_000


def test_ranks_wait_for_the_one_that_was_stopped(asked):
    """Its rank is known by its own start only; the text gives no order to a pid of then."""
    moment, found = asked(
        interval(1, *map(state, range(4))),
        interval(2, waits(0, 2, seen=STOPPED)),
        interval(3, waits(0, 2, seen=STOPPED), waits(1, 2, seen=STOPPED), waits(3, 2)),
        interval(4, waits(1, 2, seen=STOPPED)),
    )
    assert second(moment) == 3
    assert headline(found) == "3 of 4 ranks of job 4711 wait for rank 2 (pid 3002, stopped)"
    assert b"kill" not in to_text(found)


def test_of_several_moments_the_last_one_counts(asked):
    """Then the waits are longest.  Those that are over do not count."""
    moment, _ = asked(
        interval(1, waits(0, 2), waits(1, 2, ongoing=False)), interval(2, waits(1, 2)), interval(3)
    )
    assert second(moment) == 2


def test_what_is_only_probable_is_left_out(asked):
    """As by `blame` of this moment; it decides neither the moment nor the answer."""
    sure, likely = waits(0, 2), waits(1, 2)
    likely = replace(likely, stall=replace(likely.stall, probable=True))
    other = replace(likely, stall=replace(likely.stall, owner=RANKS[3]))
    moment, found = asked(interval(1, sure, likely), interval(2, likely, other))
    assert second(moment) == 1
    assert set(found.graph.waits) == {3_000}


def test_waits_without_a_process_are_counted_and_do_not_decide(asked):
    unseen = StallRecord(0, replace(waits(0).stall, owner=None))
    moment, found = asked(interval(1, waits(0, 2), unseen), interval(2, unseen, unseen))
    assert second(moment) == 1
    (note,) = found.notes
    assert note.startswith("1 waits are of processes that were not visible")


def test_a_process_or_a_job_has_its_own_moment(asked):
    """And its part of the graph."""
    other = replace(waits(3, 2), placement=None)
    intervals = (
        interval(1, waits(0, 2)),
        interval(2, replace(other, stall=replace(other.stall, owner=Process(7, 0, "cron")))),
    )
    moment, found = asked(*intervals, pid=RANKS[0].pid)
    assert (second(moment), set(found.graph.members)) == (1, {3_000, 3_002})
    moment, found = asked(*intervals, job="4711")
    assert (second(moment), set(found.graph.members)) == (1, {3_000, 3_002})
    assert asked(*intervals, job="471")[0] is None


def test_ranks_that_had_exited_are_not_counted(asked):
    _, found = asked(
        interval(1, *map(state, range(4))),
        interval(2, state(3, State.EXIT)),
        interval(3, waits(0, 2), waits(1, 2)),
    )
    assert headline(found) == (
        "2 of 3 ranks of job 4711 wait for rank 2 (pid 3002, what it did is not recorded)"
    )


def test_a_pid_that_another_process_has_by_now_has_no_rank(asked):
    """The probe did not run when the former process exited; the stall names no job."""
    unnamed = replace(waits(2), placement=None)
    _, found = asked(interval(1, *map(state, range(4))), interval(2, unnamed))
    # Without another name it is the same one.
    assert headline(found).startswith("1 of 4 ranks of job 4711 waits for ")
    curl = replace(waits(2), placement=None)
    curl = replace(curl, stall=replace(curl.stall, owner=replace(RANKS[2], comm="curl")))
    _, found = asked(interval(3, *map(state, range(4))), interval(4, curl))
    assert headline(found).startswith("curl (pid 3002) waits for ")
    _, found = asked(interval(5, *map(state, range(4))), interval(6, curl, waits(0, 1)))
    assert "1 of 3 ranks of job 4711 waits for rank 1" in to_text(found).decode()


def test_a_dead_lock_is_named(asked):
    _, found = asked(interval(1, waits(0, 1), waits(1, 0)))
    assert headline(found) == (
        "dead-lock: train (rank 0, pid 3000) and train (rank 1, pid 3001) wait for each other"
    )


def test_the_trail_leaves_the_host(asked):
    """An address; or a process of this host that was not visible."""
    _, found = asked(interval(1, waits(0)))
    assert headline(found).endswith("[fe80::b]:5437, where the trail leaves this host")
    _, found = asked(interval(2, waits(0, seen=PeerActivity.UNREAD)))
    assert headline(found).endswith("on this host, whose process is not visible")


def test_without_a_wait_there_is_no_moment(asked):
    moment, found = asked(interval(1))
    assert moment is None
    assert headline(found) == "no process waits on the network for long"


def answer(capfd, record, **given):
    options = {"pid": None, "job": None, "as_json": False, "since": "365d"} | given
    run(SimpleNamespace(record=record), 1, **options)
    return capfd.readouterr().out


def test_the_answer_names_the_moment(tmp_path, capfd):
    """In the text above the sentence, for programs as `ts`."""
    now_ms = time.time_ns() // 1_000_000
    now = [[_at(now_ms, one) for one in interval(0, waits(0, 2, seen=STOPPED))]]
    path = record_all(tmp_path / "ring", now)
    first, sentence, *_ = answer(capfd, path).splitlines()
    assert first.startswith("at ")
    assert ", the moment of most waits since " in first
    assert sentence == "1 process of job 4711 waits for train (pid 3002, stopped)"
    found = json.loads(answer(capfd, path, as_json=True))
    assert found["ts"] == now_ms
    assert found["source"] == "recording"


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="not a length of time"):
        run(SimpleNamespace(record=tmp_path), 1, pid=None, job=None, as_json=False, since="x")
    with pytest.raises(UsageError, match="put --record DIR before the command"):
        run(SimpleNamespace(record=None), 1, pid=None, job=None, as_json=False, since="1h")
    with pytest.raises(UsageError, match=rf"^recording {tmp_path}: no file records-\* is there"):
        run(SimpleNamespace(record=tmp_path), 1, pid=None, job=None, as_json=False, since="1h")


def test_a_recording_without_this_time_is_no_answer(tmp_path):
    """As for `top`: that no process waited is not known."""
    path = record_all(tmp_path / "ring", [interval(1, waits(0, 2))])
    message = f"^blame --since 1h: nothing is recorded in {path} of this time"
    with pytest.raises(UsageError, match=message):
        run(SimpleNamespace(record=path), 1, pid=None, job=None, as_json=False, since="1h")
