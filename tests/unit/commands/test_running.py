"""Stalls that a running probe answers with; the answer may be anything."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from xctl_probe.commands.blame.samples import with_running
from xctl_probe.commands.running import stalls_of
from xctl_probe.events import Cause, Direction, PeerActivity, Process, Socket, Stall
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import StallRecord
from xctl_probe.linux.procfs import read_process
from xctl_probe.status.client import Found, Reply

ME = Process(os.getpid(), 0, "rank")
SOCKET = Socket(4_241, 0, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437, "eth0", 0, 77)
STALL = Stall(ME, SOCKET, Direction.RECEIVE, 3_000_000_000, ongoing=True, cause=Cause.NO_REPLY)
PROBE = 4_711


def reply(document, *, pid=PROBE):
    return Reply(Found(Path("/run"), f"{PROBE}-1", 0), pid, document)


def record(stall):
    return StallRecord(1_700_000_000_000, stall)


def document(*stalls, **other):
    lines = [orjson.loads(to_line(record(one))) for one in stalls]
    return {"pid": PROBE, "interval_ms": 1_000, "stalls": lines} | other


def test_the_stalls_of_a_probe_are_its_records():
    """With the processes as they are now, start times included."""
    ours = read_process(os.getpid())
    with_peer = replace(STALL, peer=STALL.owner, peer_activity=PeerActivity.STOPPED)
    assert stalls_of(reply(document(STALL))) == [record(replace(STALL, owner=ours))]
    found = record(replace(with_peer, owner=ours, peer=ours))
    assert stalls_of(reply(document(with_peer))) == [found]
    assert ours.start_ticks


def test_who_is_gone_is_left_out():
    gone = replace(STALL, owner=Process(2**22 + 1, 0, "rank"))
    nobodys = replace(STALL, owner=None, probable=True)
    assert stalls_of(reply(document(gone, nobodys))) == [record(nobodys)]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        document(STALL, pid=23),  # of another pid namespace
        document(STALL, interval_ms=60_000),
        document(STALL, interval_ms="1000"),
        document(stalls={"a": 1}),
        document(stalls=[7, [], {}, {"event_type": "transport.drop", "net": None}]),
    ],
)
def test_anything_else_has_none(answer):
    assert stalls_of(reply(answer)) == []


def test_of_one_wait_the_probe_has_seen_more():
    """The sample found its last part; another direction, or socket, is another wait."""
    part = replace(STALL, duration_ns=1, cause=None)
    sends = replace(part, direction=Direction.SEND)
    other = replace(part, socket=replace(SOCKET, inode=4_243))
    assert with_running([part, sends], [STALL, other]) == [STALL, sends, other]


def test_what_is_only_probable_to_the_probe_the_sample_may_decide():
    part = replace(STALL, duration_ns=1)
    probable = replace(STALL, probable=True)
    assert with_running([part], [probable]) == [part]
    assert with_running([], [probable]) == [probable]
