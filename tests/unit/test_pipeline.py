"""The loop of stream and screen: rates by the monotonic clock, wake-ups by descriptors."""

from __future__ import annotations

import errno
import itertools
import os
import select
import time
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import NOW_MS, STALL

from xctl_probe import pipeline
from xctl_probe.aggregate import Filter
from xctl_probe.events import (
    Batch,
    DroppedEvents,
    InterfaceDelta,
    Process,
    ProcessLoad,
    TrafficDelta,
)
from xctl_probe.exporters.records import BandwidthRecord, CpuRecord, ErrorRecord, StallRecord
from xctl_probe.exporters.stdout import ReaderGone

CLIENT = Process(233, 7_001, "client")
SECOND_NS = 1_000_000_000
MS = 1_000_000
HOUR_NS = 3_600 * SECOND_NS


def intervals(monotonic, wall, since_ns=None, failing=()):
    """What is written when the clocks show these times: the start, then one for each drain.

    The source counts since `since_ns`; of its drains, those of these numbers fail.
    """
    numbers = itertools.count(1)

    def drain(now_ns):
        if next(numbers) in failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return Batch(now_ns, [TrafficDelta(CLIENT, "eth0", 1_009, 2_003)], since_ns)

    clocks = SimpleNamespace(
        monotonic_ns=mock.Mock(side_effect=monotonic), time_ns=mock.Mock(side_effect=wall)
    )
    source = SimpleNamespace(drain=drain)
    counts = SimpleNamespace(collect=lambda: [InterfaceDelta("eth0", 2_003, 1_009, 0, 0, 0, 0)])
    settings = SimpleNamespace(
        wanted=Filter(min_mbps=0.0), process_state=True, connections=False, proc_share=0.01
    )
    written = []
    sink = SimpleNamespace(put=lambda records, _: written.extend(records))
    with (
        mock.patch.object(pipeline, "time", clocks),
        mock.patch.object(pipeline, "Interfaces", return_value=counts),
    ):
        loop = pipeline.Loop(settings, source, sink)
        for _ in wall:
            loop.drain()
    return written


@given(
    st.lists(
        st.tuples(st.integers(1, 3_600 * SECOND_NS), st.integers(0, 2**62)), min_size=1, max_size=9
    )
)
def test_a_clock_that_steps_moves_the_stamps_and_no_rate(steps):
    """Back by years or forth: bytes over the time that really passed, stamped as it is now."""
    elapsed, wall = zip(*steps, strict=True)
    monotonic = list(itertools.accumulate(elapsed, initial=7))
    found = intervals(monotonic, wall)
    assert all(isinstance(record, BandwidthRecord) for record in found)
    of_process = [record for record in found if record.owner]
    assert [r.elapsed_ns for r in of_process] == list(elapsed)
    assert [r.ts_ms for r in of_process] == [ns // 1_000_000 for ns in wall]
    for record in found:
        assert record.mbps == pytest.approx(3_012 * 8_000 / record.elapsed_ns)


def test_bytes_since_the_source_was_opened_are_of_that_time():
    """Its programs were loaded for a while before the loop began."""
    found = intervals([700 * MS, 1_000 * MS], [SECOND_NS], since_ns=200 * MS)
    assert {record.elapsed_ns for record in found if record.owner} == {800 * MS}
    assert {record.elapsed_ns for record in found if not record.owner} == {300 * MS}


def test_bytes_of_intervals_that_failed_are_of_their_time_too():
    """The source still has them: they come with the next drain, and the ones after are as ever."""
    times = [7 * SECOND_NS + number * SECOND_NS for number in range(6)]
    found = intervals(times, times[1:], failing={2, 3})
    of_process = [
        record for record in found if isinstance(record, BandwidthRecord) and record.owner
    ]
    assert [record.elapsed_ns // SECOND_NS for record in of_process] == [1, 3, 1]
    of_interface = [r for r in found if isinstance(r, BandwidthRecord) and not r.owner]
    assert [record.elapsed_ns for record in of_interface] == [SECOND_NS] * 5
    assert [record.unattributed_bytes for record in of_interface] == [0, None, None, 0, 0]


def test_two_drains_at_the_same_moment_are_no_bandwidth():
    """No time, no rate: and the bytes are in the record."""
    found = intervals([7, 7], [SECOND_NS])
    assert {record.mbps for record in found} == {0.0}
    assert {record.rx_bytes for record in found} == {2_003}


class PipedSource:
    """A source whose descriptor is a pipe; `at_poll` has what happens at the n-th poll."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.polls, self.drains, self.at_poll = 0, 0, {}

    def fileno(self):
        return self.reader

    def poll(self, now_ns):
        self.polls += 1
        self.at_poll.get(self.polls, lambda: None)()
        return now_ns + HOUR_NS

    def drain(self, now_ns):
        self.drains += 1
        return Batch(now_ns, [])


class CountingSink:
    """A sink with one descriptor of its own, which is readable when the run is over."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.ended, self.flushes, self.intervals, self.retry = False, 0, 0, None

    def put(self, records, _now_ns):
        self.intervals += not any(records)

    def flush(self):
        self.flushes += 1

    def descriptors(self):
        return ((self.reader, select.POLLIN),)

    def retry_ns(self):
        return self.retry

    def wake(self, fd, events):
        self.ended = fd == self.reader and bool(events & select.POLLIN)


@pytest.fixture
def source():
    made = PipedSource()
    yield made
    os.close(made.reader)
    os.close(made.writer)


@pytest.fixture
def sink():
    made = CountingSink()
    yield made
    os.close(made.reader)
    os.close(made.writer)


def run(source, sink, interval_ns=HOUR_NS, duration_ns=None):
    settings = SimpleNamespace(
        wanted=Filter(),
        interval_ns=interval_ns,
        duration_ns=duration_ns,
        process_state=True,
        connections=False,
        proc_share=0.01,
    )
    nothing = SimpleNamespace(collect=list)
    with mock.patch.object(pipeline, "Interfaces", return_value=nothing):
        pipeline.Loop(settings, source, sink).run()


def test_the_sink_stops_the_run_by_its_own_descriptor(source, sink):
    """A stop signal, a key: after one poll, without waiting for the interval."""
    os.write(sink.writer, b"#")
    run(source, sink)
    assert (sink.ended, source.polls, sink.flushes, source.drains) == (True, 1, 1, 0)


@pytest.mark.parametrize("when", ["at the poll", "at the drain"])
def test_a_lack_of_descriptors_costs_what_was_due_and_not_the_run(source, sink, when):
    """The kernel opens each run of an iterator as a file: other users of the limit may be first."""

    def fail():
        raise OSError(errno.EMFILE, "Too many open files")

    if when == "at the poll":
        source.at_poll = {1: fail, 2: fail}
    else:
        source.drain = lambda _now_ns: fail()
    lost = []
    sink.put = lambda records, _now_ns: lost.extend(r.error for r in records)
    run(source, sink, interval_ns=SECOND_NS // 4, duration_ns=SECOND_NS)
    if when == "at the poll":
        assert sum(one.count for one in lost) == 2
    else:
        assert {*lost} == {DroppedEvents("source", 1)}


def test_a_mistake_at_a_poll_is_raised(source, sink):
    def fail():
        raise OSError(errno.EBADF, "Bad file descriptor")

    source.at_poll = {1: fail}
    with pytest.raises(OSError, match="Bad file"):
        run(source, sink)


def test_a_source_that_is_ready_is_polled_again_after_the_least_time(source, sink):
    """Many small events in the least time between two polls cost one poll."""
    os.write(source.writer, b"#")
    source.at_poll[2] = lambda: os.write(sink.writer, b"#")
    begun_ns = time.monotonic_ns()
    run(source, sink)
    assert source.polls == 2
    assert time.monotonic_ns() - begun_ns >= pipeline._MIN_POLL_INTERVAL_NS


def test_each_interval_is_one_drain_and_the_duration_limits_the_run(source, sink):
    """The sink gets the records of each; no more intervals than fit."""
    run(source, sink, interval_ns=500_000_000, duration_ns=1_900_000_000)
    assert not sink.ended
    assert 1 <= source.drains == sink.intervals <= 3


def test_a_sink_with_output_left_is_flushed_again_soon(source, sink):
    """Although no descriptor wakes the loop."""
    sink.retry = 2_000_000
    run(source, sink, duration_ns=100_000_000)
    assert sink.flushes >= 3


def test_what_a_recording_dropped_is_in_the_next_interval_of_both():
    """As PROBE_LOST, once, with the time of that interval."""
    kept, written = [], []
    recorder = SimpleNamespace(
        where="recording",
        takes_all=False,
        dropped=mock.Mock(side_effect=[23, 0]),
        put=kept.append,
    )
    writer = SimpleNamespace(put=written.append, dropped=0)
    made = pipeline._Stdout(writer, 1, mock.Mock(), [recorder])
    first, second = (BandwidthRecord(ts_ms, "lo", None, 0, 0, 1) for ts_ms in (1_009, 2_003))
    made.put(iter([first]), 0)
    made.put(iter([second]), 0)
    lost = ErrorRecord(1_009, DroppedEvents("recording", 23))
    assert written == [lost, first, second]
    assert kept == [[lost, first], [second]]


def test_each_interval_is_noted_with_the_time_it_was_due(source, sink):
    """By the loop, which alone knows that time."""
    intervals = mock.Mock()
    settings = SimpleNamespace(
        wanted=Filter(),
        interval_ns=100_000_000,
        duration_ns=350_000_000,
        process_state=True,
        connections=False,
        proc_share=0.01,
    )
    with mock.patch.object(pipeline, "Interfaces", return_value=SimpleNamespace(collect=list)):
        begun_ns = time.monotonic_ns()
        pipeline.Loop(settings, source, sink, intervals).run()
    noted = [call.args for call in intervals.note.call_args_list]
    assert len(noted) == source.drains
    assert all(begun_ns < due_ns <= began_ns <= ended_ns for due_ns, began_ns, ended_ns in noted)


@pytest.mark.parametrize(
    ("took_ms", "next_ms"),
    [(0, 2_000), (3, 2_000), (499, 2_000), (501, 3_000), (999, 3_000), (4_735, 7_000)],
)
def test_after_a_delay_an_interval_has_half_its_length_or_more(took_ms, next_ms):
    """In 2 ms, few bytes would be a high rate."""
    found_ns = pipeline.next_due(SECOND_NS, SECOND_NS + took_ms * 1_000_000, SECOND_NS)
    assert found_ns == next_ms * 1_000_000


class Clients:
    """Stands in for the server of `status`: one descriptor, and what was called."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.steps, self.woken, self.due_ns = 0, [], None

    def descriptors(self):
        return [(self.reader, select.POLLIN)]

    def retry_ns(self):
        return self.due_ns

    def step(self):
        self.steps += 1

    def wake(self, fd, events):
        if fd != self.reader:
            return False
        self.woken.append(events)
        return True


@pytest.fixture
def clients():
    made = Clients()
    yield made
    os.close(made.reader)
    os.close(made.writer)


def stdout_of(clients, *, refused=False):
    writer = SimpleNamespace(pending=refused, refused=refused, flush=mock.Mock(), put=mock.Mock())
    stop = mock.Mock(**{"fileno.return_value": 1_009})
    service = SimpleNamespace(server=clients, monitor=mock.Mock())
    service.monitor.seen.side_effect = lambda records, _now_ns: iter([*records, "noted"])
    return pipeline._Stdout(writer, 1, stop, (), service), writer


def test_clients_of_status_are_polled_with_stdout(clients):
    """And are not taken for a reader that is gone."""
    sink, writer = stdout_of(clients)
    assert list(sink.descriptors()) == [(1_009, select.POLLIN), (1, 0), (clients.reader, 1)]
    sink.wake(clients.reader, select.POLLHUP)
    assert (clients.woken, sink.ended) == ([select.POLLHUP], False)
    with pytest.raises(ReaderGone):
        sink.wake(1, select.POLLHUP)
    sink.flush()
    assert (clients.steps, writer.flush.call_count) == (1, 1)


@pytest.mark.parametrize(
    ("refused", "due_ns", "expected"),
    [
        (False, None, None),
        (False, 0, 0),
        (False, 23_000_000, 23_000_000),
        (True, None, 10_000_000),
        (True, 23_000_000, 10_000_000),
        (True, 7, 7),
    ],
)
def test_the_loop_wakes_for_what_is_due_first(clients, refused, due_ns, expected):
    """A client, or a terminal that took nothing."""
    sink, _ = stdout_of(clients, refused=refused)
    clients.due_ns = due_ns
    assert sink.retry_ns() == expected


def test_the_records_of_an_interval_pass_the_monitor(clients):
    sink, writer = stdout_of(clients)
    sink.put(["record"], 7)
    assert [call.args for call in writer.put.call_args_list] == [("record",), ("noted",)]


class Receiving:
    """A receiver that keeps what it gets."""

    def __init__(self, *, takes_all):
        self.where, self.takes_all, self.intervals = "prometheus", takes_all, []

    def dropped(self):
        return 0

    def put(self, records):
        self.intervals.append(list(records))


def test_metrics_get_the_bandwidth_that_lines_leave_out():
    """Consumers of lines take little bandwidth for a wait; a sum without it would be wrong."""
    written, metrics, kept = [], Receiving(takes_all=True), Receiving(takes_all=False)
    writer = SimpleNamespace(put=written.append, dropped=0)
    made = pipeline._Stdout(writer, 1, mock.Mock(), [metrics, kept], least_mbps=1.0)
    idle, little, enough = (
        BandwidthRecord(1_009, "lo", owner, count, 0, SECOND_NS)
        for owner, count in ((None, 7), (CLIENT, 124_999), (CLIENT, 125_000))
    )
    made.put(iter([idle, little, enough]), 0)
    assert metrics.intervals == [[idle, little, enough]]
    assert kept.intervals == [written] == [[idle, enough]]


def test_metrics_get_the_loads_that_lines_leave_out():
    """An idle process is no line, and its memory is in the sums."""
    written, metrics = [], Receiving(takes_all=True)
    writer = SimpleNamespace(put=written.append, dropped=0)
    made = pipeline._Stdout(writer, 1, mock.Mock(), [metrics])
    little, enough = (
        CpuRecord(1_009, ProcessLoad(CLIENT, cpu_ms * 1_000_000, SECOND_NS, 0, 1))
        for cpu_ms in (9, 10)
    )
    made.put(iter([little, enough]), 0)
    assert metrics.intervals == [[little, enough]]
    assert written == [enough]


@pytest.mark.parametrize("receivers", [0, 1])
@pytest.mark.parametrize("probable", [False, True])
def test_what_is_only_probable_is_written_on_request_and_the_monitor_has_it(probable, receivers):
    """Receivers of records get it with the lines."""
    written, known = [], []
    kept = [Receiving(takes_all=all_) for all_ in (False, True)][: 2 * receivers]

    def seen(records, _now_ns):
        for record in records:
            known.append(record)
            yield record

    service = SimpleNamespace(monitor=SimpleNamespace(seen=seen), server=None)
    writer = SimpleNamespace(put=written.append, dropped=0)
    made = pipeline._Stdout(writer, 1, mock.Mock(), kept, service, probable=probable)
    certain, likely = (
        StallRecord(NOW_MS, replace(STALL, probable=maybe)) for maybe in (False, True)
    )
    made.put(iter([certain, likely]), 0)
    wanted = [certain, likely] if probable else [certain]
    assert written == wanted
    assert known == [certain, likely]
    assert [one.intervals for one in kept] == [[wanted]] * (2 * receivers)


def test_metrics_count_what_stdout_dropped():
    """Once each, although the writer reports it only when the reader takes lines again."""
    writer = SimpleNamespace(put=mock.Mock(), dropped=0)
    metrics, kept = Receiving(takes_all=True), Receiving(takes_all=False)
    made = pipeline._Stdout(writer, 1, mock.Mock(), [metrics, kept])
    record = BandwidthRecord(1_009, "lo", None, 0, 0, 1)
    for writer.dropped in (7, 7, 30):
        made.put([record], 0)
    lost = [ErrorRecord(1_009, DroppedEvents("stdout", count)) for count in (7, 23)]
    assert metrics.intervals == [[lost[0], record], [record], [lost[1], record]]
    assert kept.intervals == [[record]] * 3
