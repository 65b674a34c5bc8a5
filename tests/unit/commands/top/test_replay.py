"""`top --replay` without a terminal: a frame for each interval."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.recording import record_all
from support.records import STALL

from xctl_probe.aggregate import Filter
from xctl_probe.commands.top.replay import run
from xctl_probe.errors import UsageError
from xctl_probe.events import Process
from xctl_probe.exporters.records import BandwidthRecord, StallRecord

BEGUN_MS = 1_700_000_000_000
CLIENT = Process(233, 0, "\x1bclient")
SETTINGS = SimpleNamespace(interval_ns=1_000_000_000, wanted=Filter())


def interval(second, ms, ongoing):
    ts_ms = BEGUN_MS + second * 1_000
    stall = replace(STALL, owner=CLIENT, duration_ns=ms * 1_000_000, ongoing=ongoing)
    moved = BandwidthRecord(ts_ms, "eth0", CLIENT, 1_000_000, 250_000, 1_000_000_000)
    return [StallRecord(ts_ms, stall), moved]


@pytest.fixture
def recording(tmp_path):
    return record_all(
        tmp_path / "ring",
        [interval(1, 300, True), interval(2, 1_300, True), interval(3, 1_409, False)],
    )


def test_each_interval_is_a_frame(recording, capfd):
    """With what `top` would have drawn, as text without control characters."""
    run(SETTINGS, 1, recording, None)
    found = capfd.readouterr().out
    frames = found.split("\n\n")[:-1]
    assert len(frames) == 3
    assert "\x1b" not in found
    assert ["WAITING 1, ended 0" in one for one in frames] == [True, True, False]
    assert "WAITING 0, ended 1" in frames[2]
    assert "    233 \\x1bclient      waits      0.30 s for data from" in frames[0]
    assert "eth0       rx      8.00 tx      2.00 Mbps" in frames[0]


def test_since_leaves_earlier_intervals_out(recording):
    refused = f"top --since 1m: nothing is recorded in {recording} of this time"
    with pytest.raises(UsageError, match=re.escape(refused)):
        run(SETTINGS, 1, recording, "1m")
    with pytest.raises(UsageError, match="not a length of time"):
        run(SETTINGS, 1, recording, "soon")


def test_a_directory_without_a_recording_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no file records-\* is there"):
        run(SETTINGS, 1, tmp_path, None)


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Filter(pids=frozenset({233})), "WAITING 1, ended 0"),
        (Filter(pids=frozenset({239})), "WAITING 0, ended 0"),
        (Filter(interfaces=frozenset({"eth0"})), "WAITING 1, ended 0"),
        (Filter(interfaces=frozenset({"lo"})), "WAITING 0, ended 0"),
    ],
)
def test_the_filter_of_the_stream_holds(recording, capfd, wanted, shown):
    run(SimpleNamespace(interval_ns=1_000_000_000, wanted=wanted), 1, recording, None)
    first, *_ = capfd.readouterr().out.split("\n\n")
    assert shown in first
    assert ("8.00" in first) is ("WAITING 1" in shown)


def test_a_reader_that_leaves_is_no_error(recording):
    """As `| head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    run(SETTINGS, writer, recording, None)
    os.close(writer)
