"""`why --since`: what a recording has of a pid, in words and for programs."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace

import pytest
from support.recording import record_all
from support.records import STALL

from xctl_probe.commands.recorded import Window
from xctl_probe.commands.why.recorded import recall, run
from xctl_probe.commands.why.recorded_report import headline, to_json, to_text
from xctl_probe.errors import UsageError
from xctl_probe.events import (
    DroppedEvents,
    ErrorKind,
    PeerActivity,
    Placement,
    Process,
    ProcessState,
    SocketError,
    State,
)
from xctl_probe.exporters.records import (
    BandwidthRecord,
    ErrorRecord,
    ProcessRecord,
    StallRecord,
)
from xctl_probe.recordings.reader import Recording

BEGUN_MS = 1_700_000_000_000  # 22:13:20 UTC
CLIENT, SERVER, OTHER = (
    Process(233, 0, "client"),
    Process(239, 0, "server"),
    Process(2_330, 0, "other"),
)
WINDOW = Window(BEGUN_MS - 1_000, BEGUN_MS + 600_000)


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def interval(second, *records):
    """The records of an interval of a second, with that of an interface."""
    ts_ms = BEGUN_MS + second * 1_000
    stamped = [replace(one, ts_ms=ts_ms) for one in records]
    return [*stamped, BandwidthRecord(ts_ms, "lo", None, 0, 0, 1_000_000_000, 0)]


def waits(ms, ongoing=True, **changes):
    found = replace(STALL, owner=CLIENT, duration_ns=ms * 1_000_000, ongoing=ongoing)
    return StallRecord(0, replace(found, **changes))


def failed(count, kind=ErrorKind.RETRANSMIT):
    return ErrorRecord(0, SocketError(CLIENT, STALL.socket, kind, count))


@pytest.fixture
def recalled(tmp_path):
    """What is recalled of a pid from these intervals."""

    def run(*intervals, pid=CLIENT.pid, begun_ms=None, window=WINDOW):
        record_all(tmp_path / "ring", intervals)
        with closing(Recording(tmp_path / "ring")) as recording:
            return recall(recording, window, pid, begun_ms)

    return run


def lines(found):
    text = to_text(found)
    assert text.isascii()
    return text.decode().splitlines()


def test_a_stall_has_its_begin_its_end_and_its_peer(recalled):
    """In the words of `why` and `top`."""
    peer = {"peer": SERVER, "peer_activity": PeerActivity.STOPPED}
    found = recalled(
        interval(1, waits(300, **peer)),
        interval(2, waits(1_300, **peer)),
        interval(3, waits(2_011, ongoing=False, peer=SERVER)),
        interval(4),
    )
    assert lines(found)[:4] == [
        "233 client: waited 2.0 s for data from [fe80::b]:5437 (no_reply) at 22:13:20",
        "",
        "  22:13:20  waited 2.0 s for data from [fe80::b]:5437 (no_reply); "
        "the peer is server (pid 239), stopped, until 22:13:22",
        "",
    ]
    (stall,) = json.loads(to_json(found))["stalls"]
    assert (stall["begin"], stall["end"]) == (BEGUN_MS + 700, BEGUN_MS + 2_711)
    assert (stall["duration_ms"], stall["peer_pid"], stall["peer_state"]) == (2_011, 239, "stopped")


def test_a_stall_that_may_be_expected_is_probable(recalled):
    found = recalled(interval(1, waits(300, probable=True)))
    assert headline(found).startswith("probably waits 0.30 s for data from ")
    assert "  22:13:20  probably waits 0.30 s" in lines(found)[2]
    (stall,) = json.loads(to_json(found))["stalls"]
    assert stall["probable"] is True


def test_a_stall_of_the_last_interval_is_ongoing(recalled):
    """And it comes first, whatever was longer before."""
    other = replace(STALL.socket, inode=7)
    found = recalled(
        interval(5, waits(4_000, ongoing=False, socket=other)), interval(9, waits(700))
    )
    assert headline(found) == (
        "waits 0.70 s for data from [fe80::b]:5437 (no_reply) at 22:13:29, "
        "and 1 more stall since 22:13:19"
    )
    assert any(line.endswith(", ongoing at 22:13:29") for line in lines(found))
    assert [s["end"] for s in json.loads(to_json(found))["stalls"]][1] is None


def test_a_stall_whose_end_is_not_recorded_has_none(recalled):
    """Its socket is gone, and the recording goes on."""
    found = recalled(interval(1, waits(300)), interval(2))
    assert "  22:13:20  waits 0.30 s" in lines(found)[2]
    assert ", last seen at 22:13:21" in lines(found)[2]
    assert not found.ongoing


def test_overlapping_stalls_count_once(recalled):
    """The time waited is that in which at least one lasted, within the window."""
    sockets = [replace(STALL.socket, inode=inode) for inode in (3, 5, 7)]
    found = recalled(
        interval(10, waits(9_000, ongoing=False, socket=sockets[0])),
        interval(11, waits(3_000, ongoing=False, socket=sockets[1])),
        interval(20, waits(500, ongoing=False, socket=sockets[2])),
        window=Window(BEGUN_MS + 2_000, BEGUN_MS + 600_000),
    )
    assert found.waited_ms == 8_000 + 1_000 + 500
    assert headline(found) == (
        "waited on the network for 9.5 s since 22:13:22, in 3 stalls; "
        "the longest: waited 9.0 s for data from [fe80::b]:5437 (no_reply)"
    )


def test_a_former_process_with_the_pid_is_kept_apart(recalled):
    """By the start time of the process that has the pid now."""
    old = replace(CLIENT, comm="former")
    found = recalled(
        interval(1, waits(900, ongoing=False, owner=old)),
        interval(9, waits(400, ongoing=False)),
        begun_ms=BEGUN_MS + 5_000,
    )
    assert [one.stall.owner.comm for one in found.stalls] == ["client"]
    assert [one.stall.owner.comm for one in found.former.stalls] == ["former"]
    text = lines(found)
    assert text[4] == "  of a former process with this pid:"
    assert "former waited 0.90 s" in text[5]


def test_errors_and_the_exit_of_a_former_process_are_kept_apart(recalled):
    """The present one has the pid since; it runs, and has errors of its own."""
    placement = Placement(job_id="4711")
    gone = ProcessRecord(0, ProcessState(CLIENT, placement, State.EXIT))
    before = (interval(1, failed(3)), interval(2, gone))
    found = recalled(*before, interval(9, failed(20)), begun_ms=BEGUN_MS + 5_000)
    assert lines(found)[:6] == [
        "233 client: no stall is recorded of it since 22:13:19",
        "",
        "  22:13:29  RETRANSMIT 20  10.0.0.7:40009 -> [fe80::b]:5437",
        "",
        "  of a former process with this pid:",
        "  it had exited by 22:13:22",
    ]
    assert lines(found)[6] == "  22:13:21  RETRANSMIT 3  10.0.0.7:40009 -> [fe80::b]:5437"
    answer = json.loads(to_json(found))
    assert (answer["exited"], answer["former_exited"]) == (None, BEGUN_MS + 2_000)
    assert [(one["count"], one["former_process"]) for one in answer["errors"]] == [
        (20, False),
        (3, True),
    ]


def test_only_a_former_process_is_recorded(recalled):
    """Its name is not that of the process which has the pid now."""
    found = recalled(interval(1, failed(3)), begun_ms=BEGUN_MS + 5_000)
    assert lines(found)[0] == "233: no record of this process since 22:13:19"


def test_errors_are_added_up_by_connection(recalled):
    found = recalled(interval(1, failed(3)), interval(4, failed(20), failed(1, ErrorKind.RESET)))
    assert [(one.what, one.count) for one in found.failures] == [("RETRANSMIT", 23), ("RESET", 1)]
    assert "  22:13:21 to 22:13:24  RETRANSMIT 23  10.0.0.7:40009 -> [fe80::b]:5437" in lines(found)


def test_records_of_other_processes_are_left_out(recalled):
    """Also of one whose pid begins with the same digits, or that has it as a peer."""
    found = recalled(interval(1, waits(900, owner=OTHER, peer=CLIENT), waits(300, owner=None)))
    assert (found.comm, found.stalls) == (None, ())
    assert lines(found)[0] == "233: no record of this pid since 22:13:19"


def test_an_exit_is_named(recalled):
    placement = Placement(job_id="4711")
    gone = ProcessRecord(0, ProcessState(CLIENT, placement, State.EXIT))
    found = recalled(interval(1, waits(300, ongoing=False)), interval(3, gone))
    assert lines(found)[1] == "  it had exited by 22:13:23"


def test_what_is_not_recorded_is_noted(recalled):
    """The time before and after, holes, and what the probe dropped."""
    lost = ErrorRecord(0, DroppedEvents("stalls", 7))
    found = recalled(interval(100, lost), interval(101), interval(200))
    assert found.notes == (
        "the recording begins at 22:14:59",
        "the recording stops at 22:16:40",
        "nothing is recorded from 22:15:01 on for 98.0 s",
        "the probe dropped events, which may have been of this process: stalls 7",
    )


def test_an_empty_window_is_noted(recalled):
    found = recalled(interval(1), window=Window(BEGUN_MS + 500_000, BEGUN_MS + 600_000))
    assert found.notes == ("nothing is recorded of this time",)


def test_a_recording_without_this_time_is_no_answer(tmp_path):
    """As for `top`; nor is a directory without a recording."""
    with pytest.raises(UsageError, match=rf"^recording {tmp_path}: no file records-\* is there"):
        run(CLIENT.pid, 1, as_json=True, record=str(tmp_path), since="1h")
    path = record_all(tmp_path / "ring", [interval(1, waits(300))])
    message = f"^why 233 --since 1h: nothing is recorded in {path} of this time"
    with pytest.raises(UsageError, match=message):
        run(CLIENT.pid, 1, as_json=True, record=str(path), since="1h")


def test_hostile_names_are_printable(recalled):
    evil = replace(CLIENT, comm="\x1b[31m\n")
    found = recalled(interval(1, waits(300, owner=evil, peer=evil)))
    assert not any("\x1b" in line for line in lines(found))
    assert json.loads(to_json(found))["comm"] == evil.comm


def test_a_stall_of_any_length_has_a_begin(recalled):
    """A damaged record may have one before the first year."""
    found = recalled(interval(1, waits(2**62 // 1_000_000, ongoing=False)))
    assert found.waited_ms == 2_000
    assert lines(found)
    assert Window(-(2**63), 2**63).clock(-(2**63)).startswith("-")


def test_many_stalls_are_cut_to_the_longest(recalled):
    """In the text; the object has all."""
    many = [
        waits(100 + n, ongoing=False, socket=replace(STALL.socket, inode=n)) for n in range(1, 31)
    ]
    found = recalled(interval(1, *many))
    text = lines(found)
    assert "  and 10 shorter ones; --json has them all" in text
    assert sum("waited 0." in line for line in text[1:]) == 20
    assert len(json.loads(to_json(found))["stalls"]) == 30
