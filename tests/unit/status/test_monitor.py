"""What the stream notes of itself at each interval, and the documents that it answers with."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
from support.records import NOW_MS, STALL
from support.status import STATUS

from xctl_probe.events import DroppedEvents
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import BandwidthRecord, ErrorRecord, StallRecord
from xctl_probe.figures import RecordFigures
from xctl_probe.status.document import parse
from xctl_probe.status.intervals import Intervals
from xctl_probe.status.monitor import Monitor

MS_NS = 1_000_000
SECOND_NS = 1_000 * MS_NS


def answered(making):
    """The document, decoded."""
    while True:
        try:
            next(making)
        except StopIteration as made:
            return json.loads(made.value)


def figures():
    yield
    return STATUS.figures


@pytest.fixture
def notifier():
    return mock.Mock(listens=True)


@pytest.fixture
def monitor(notifier):
    source = SimpleNamespace(name="ebpf", attach="tracepoint", figures=figures)
    writer = SimpleNamespace(figures=lambda _now_ns: RecordFigures(23, 7, 0, 0, 0, 4_096, None))
    return Monitor(source, "source ebpf (...)", writer, Intervals(SECOND_NS), notifier)


def pass_on(monitor, records, now_ns=7):
    assert list(monitor.seen(iter(records), now_ns)) == records


def lost(where, count):
    return ErrorRecord(NOW_MS, DroppedEvents(where, count))


def stall(*, ongoing, inode=7):
    socket = replace(STALL.socket, inode=inode)
    return StallRecord(NOW_MS, replace(STALL, ongoing=ongoing, socket=socket))


def test_dropped_events_are_added_up_by_place(monitor):
    pass_on(monitor, [lost("ring", 3), BandwidthRecord(NOW_MS, "lo", None, 0, 0, 1)])
    pass_on(monitor, [lost("waits", 1_009), lost("ring", 4)])
    status = answered(monitor.status())
    assert status["lost"] == {"ring": 7, "waits": 1_009}
    assert status["lost_ago_ms"] > 0  # the interval was at 7 ns


def test_what_is_only_probable_is_among_the_stalls_and_not_counted(monitor):
    certain = stall(ongoing=True)
    likely = StallRecord(NOW_MS, replace(stall(ongoing=True, inode=11).stall, probable=True))
    pass_on(monitor, [certain, likely])
    marks = [line["net"].get("probable") for line in answered(monitor.stalls())["stalls"]]
    assert marks == [None, True]
    assert answered(monitor.status())["stalls"] == 1


def test_stalls_are_the_ongoing_ones_of_the_last_interval(monitor):
    """As the records that were written, byte for byte."""
    now = [stall(ongoing=True, inode=inode) for inode in range(1, 131)]
    pass_on(monitor, [stall(ongoing=True)])
    pass_on(monitor, [*now, stall(ongoing=False)])
    found = answered(monitor.stalls())
    assert (found["pid"], found["interval_ms"]) == (os.getpid(), 1_000)
    assert found["stalls"] == [json.loads(to_line(record)) for record in now]
    assert answered(monitor.status())["stalls"] == 130
    pass_on(monitor, [])
    assert answered(monitor.stalls())["stalls"] == []


def test_many_stalls_are_made_in_pieces(monitor):
    """Of 64: the loop measures in between."""
    pass_on(monitor, [stall(ongoing=True)] * 193)
    assert sum(1 for _ in monitor.stalls()) == 4


def test_the_document_is_a_status_with_the_figures_of_the_source(monitor):
    monitor.intervals.note(0, 3 * MS_NS, 11 * MS_NS)
    found = parse(answered(monitor.status()))
    assert (found.pid, found.uid, found.source) == (os.getpid(), os.geteuid(), "ebpf")
    assert (found.choice, found.kernel) == (
        "source ebpf (...)",
        f"{os.uname().release} {os.uname().machine}",
    )
    assert found.figures == STATUS.figures
    assert (found.intervals.count, found.intervals.last_took_ms) == (1, 8)
    assert found.records.written == 23
    assert found.process.resident_bytes > 1 << 20
    assert found.process.threads >= 1


def test_records_that_found_no_room_are_dropped_at_stdout(monitor):
    """Before the stream reports them, which waits for its reader."""
    monitor.writer.figures = lambda _: RecordFigures(0, 0, 1_009, 0, 0, 4_096, 0)
    assert answered(monitor.status())["lost"] == {"stdout": 1_009}


def test_the_service_manager_gets_a_line_for_each_interval(monitor, notifier):
    """With what the source is, and what was dropped."""
    monitor.ready()
    notifier.ready.assert_called_once_with("source ebpf tracepoint; nothing dropped")
    pass_on(monitor, [], 23)
    pass_on(monitor, [lost("ring", 3)], 29)
    assert notifier.interval.call_args_list == [
        mock.call(23, "source ebpf tracepoint; nothing dropped"),
        mock.call(29, "source ebpf tracepoint; 3 events dropped"),
    ]
    monitor.close()
    assert notifier.stopping.called
