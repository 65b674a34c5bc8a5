"""The writer before readers that are slow, stopped or gone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import CLIENT, NOW_MS, OTHER

from xctl_probe.errors import ProbeError
from xctl_probe.events import (
    Direction,
    DroppedEvents,
    ErrorKind,
    Process,
    ProcessLoad,
    Socket,
    SocketError,
    Stall,
)
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    StallRecord,
)
from xctl_probe.exporters.stdout import QUEUE_BYTES, ReaderGone, Writer, write_answer

SECOND_NS = 1_000_000_000
# Of no user: dropped records are counted by user.
SOCKET = Socket(4_241, 11, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437, "eth0")
PIPE_BYTES = 4_096


def event(name, size=0):
    """A stall whose line is its name, filled up to `size` bytes."""
    return StallRecord(NOW_MS, Stall(Process(1, 1, name), SOCKET, Direction.SEND, size, False))


def render(record):
    match record:
        case BandwidthRecord():
            pid = record.owner.pid if record.owner else "-"
            return f"bw {record.interface} {pid} {record.rx_bytes} {record.elapsed_ns}\n".encode()
        case StallRecord(stall=stall):
            return f"{stall.owner.comm}\n".rjust(stall.duration_ns, ".").encode()
        case ErrorRecord(error=lost):
            return f"PROBE_LOST:{lost.count} at {lost.where}\n".encode()


def bandwidth(rx, owner=None, interface="eth0"):
    return BandwidthRecord(NOW_MS, interface, owner, rx, 0, SECOND_NS)


class Pipe:
    """A pipe of one page, its reader not blocking."""

    def __init__(self):
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.clogged = 0

    def clog(self):
        """Fill it: the reader has stopped."""
        self.clogged = PIPE_BYTES
        assert os.write(self.write_fd, b"#" * PIPE_BYTES) == PIPE_BYTES

    def read(self):
        try:
            got = os.read(self.read_fd, 1 << 20)
        except BlockingIOError:
            return b""
        clogged, self.clogged = self.clogged, max(self.clogged - len(got), 0)
        return got[clogged:]

    def drain(self, writer):
        """All that the writer has, read page by page."""
        pages = [self.read()]
        while writer.pending:
            writer.flush()
            pages.append(self.read())
        return pages

    def close_reader(self):
        os.close(self.read_fd)
        self.read_fd = -1  # the number may be another file's soon

    def close_writer(self):
        os.close(self.write_fd)
        self.write_fd = -1

    def close(self):
        for fd in (self.read_fd, self.write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def writer(pipe):
    return Writer(pipe.write_fd, render, lambda: NOW_MS)


def test_what_is_put_comes_out_in_its_order(pipe, writer):
    """23 events, one flush, the same 23 lines."""
    for n in range(23):
        writer.put(event(f"STALL_{n}ms"))
    assert writer.pending
    writer.flush()
    assert pipe.read() == b"".join(b"STALL_%dms\n" % n for n in range(23))
    assert not writer.pending


def test_nothing_to_write_writes_nothing(pipe, writer):
    """A flush without records is none."""
    writer.flush()
    assert pipe.read() == b""
    assert not writer.pending


def test_a_reader_that_stops_is_not_waited_for(pipe, writer):
    """The flush returns at once, and everything comes when the reader goes on."""
    pipe.clog()
    for n in range(1_009):
        writer.put(event(f"STALL_{n}ms"))
        writer.flush()
    assert writer.pending
    assert b"".join(pipe.drain(writer)) == b"".join(b"STALL_%dms\n" % n for n in range(1_009))


def test_events_come_before_the_bandwidth_that_waited_with_them(pipe, writer):
    """What matters most is written first, and nothing twice."""
    writer.put(bandwidth(7))
    writer.put(event("one"))
    writer.put(bandwidth(11, CLIENT))
    writer.put(event("two"))
    assert b"".join(pipe.drain(writer)) == (
        b"one\ntwo\nbw eth0 - 7 1000000000\nbw eth0 233 11 1000000000\n"
    )


def test_bandwidth_that_waits_becomes_one_record_for_each(pipe, writer):
    """97 intervals of a stopped reader: three records with all bytes and all the time."""
    pipe.clog()
    for _ in range(97):
        writer.put(bandwidth(7))
        writer.put(bandwidth(11, CLIENT))
        writer.put(bandwidth(13, OTHER))
        writer.flush()
    assert b"".join(pipe.drain(writer)) == (
        b"bw eth0 - 679 97000000000\nbw eth0 233 1067 97000000000\nbw eth0 239 1261 97000000000\n"
    )


def test_loads_that_wait_become_one_record_for_each(pipe):
    """CPU over all the time, and the last memory; an interface may be called cpu."""
    writer = Writer(pipe.write_fd, to_line, lambda: NOW_MS)
    pipe.clog()
    for cpu_ms, resident in ((100, 7), (300, 5)):
        load = ProcessLoad(CLIENT, cpu_ms * 1_000_000, SECOND_NS, resident, 10)
        for record in (CpuRecord(NOW_MS, load), MemoryRecord(NOW_MS, load)):
            writer.put(record)
        writer.put(bandwidth(11, CLIENT, "cpu"))
        writer.flush()
    found = [json.loads(line) for line in b"".join(pipe.drain(writer)).splitlines()]
    assert {(one["entity_id"], one["value"]) for one in found} == {
        ("cpu", "20.00"),
        ("memory", "50.00"),
        ("cpu", "0.00"),
    }
    assert found[0]["net"]["interval_ms"] == 2_000


@given(
    st.lists(
        st.one_of(
            st.just("flush"),
            st.just("read"),
            st.builds(
                bandwidth,
                st.integers(0, 10**9),
                st.sampled_from([None, CLIENT, OTHER]),
                st.sampled_from(["eth0", "lo"]),
            ),
            st.builds(event, st.just("E"), st.integers(0, 1_009)),
        ),
        max_size=101,
    )
)
def test_bytes_time_and_events_are_conserved_whatever_the_reader_does(steps):
    """Any interleaving of puts, flushes and reads: the sums come out as they went in."""
    pipe = Pipe()
    try:
        writer = Writer(pipe.write_fd, render, lambda: NOW_MS)
        went_in, read = Counter(), b""
        for step in steps:
            if step == "flush":
                writer.flush()
            elif step == "read":
                read += pipe.read()
            else:
                writer.put(step)
                if isinstance(step, BandwidthRecord):
                    key = (step.interface, str(step.owner.pid) if step.owner else "-")
                    went_in[key, "bytes"] += step.rx_bytes
                    went_in[key, "ns"] += step.elapsed_ns
                else:
                    went_in["events"] += 1
        read += b"".join(pipe.drain(writer))
    finally:
        pipe.close()
    came_out = Counter()
    for line in read.decode().splitlines():
        if line.startswith("bw "):
            _, interface, pid, count, elapsed_ns = line.split()
            came_out[(interface, pid), "bytes"] += int(count)
            came_out[(interface, pid), "ns"] += int(elapsed_ns)
        else:
            assert line.strip(".") == "E"
            came_out["events"] += 1
    assert +came_out == +went_in


def test_the_queue_is_bounded_and_what_it_refused_is_counted(pipe, writer):
    """A stopped reader costs 4 MiB at most; afterwards the loss is reported, exactly, and last."""
    pipe.clog()
    size = 1_009
    kept = QUEUE_BYTES // size
    for _ in range(kept + 23):
        writer.put(event("E", size))
        writer.flush()
    lines = b"".join(pipe.drain(writer)).split()
    assert {len(line) + 1 for line in lines[:kept]} == {size}
    assert len(lines) == kept + 3  # "PROBE_LOST:23", "at" and "stdout" are the last
    assert b" ".join(lines[-3:]) == b"PROBE_LOST:23 at stdout"


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 7), 7),
        (DroppedEvents("ring", 11), 11),
        (InterfaceErrors("eth0", InterfaceFailure.DROPS, 13, 17), 1),
    ],
)
def test_a_record_that_finds_no_room_counts_with_all_its_failures(pipe, error, count):
    """An interface counts once: its packets are no failures of a process."""
    full = b"#" * (QUEUE_BYTES + 1) + b"\n"
    writer = Writer(
        pipe.write_fd, lambda r: full if r.error is error else render(r), lambda: NOW_MS
    )
    writer.put(ErrorRecord(NOW_MS, error))
    assert b"".join(pipe.drain(writer)) == b"PROBE_LOST:%d at stdout\n" % count


def test_after_a_loss_there_is_room_again(pipe, writer):
    """The bound holds for what waits, not for ever; each loss is reported once."""
    pipe.clog()
    for _ in range(QUEUE_BYTES // 4_001 + 3):
        writer.put(event("E", 4_001))
    assert b"".join(pipe.drain(writer)).endswith(b"\nPROBE_LOST:3 at stdout\n")
    writer.put(event("again"))
    assert b"".join(pipe.drain(writer)) == b"again\n"


def test_losses_are_reported_behind_what_waited_and_before_bandwidth(pipe, writer):
    """In their place: after the events that were kept, before the sums."""
    pipe.clog()
    writer.put(bandwidth(7))
    for _ in range(QUEUE_BYTES // 4_001 + 5):
        writer.put(event("E", 4_001))
    lines = b"".join(pipe.drain(writer)).splitlines()
    assert lines[-2:] == [b"PROBE_LOST:5 at stdout", b"bw eth0 - 7 1000000000"]


def test_a_reader_that_stays_too_slow_gets_losses_and_bandwidth_too(pipe, writer):
    """More lines come than it takes: the last of them is never written."""
    pipe.clog()
    read = []
    for _ in range(400):
        writer.put(bandwidth(7))
        for _ in range(250):
            writer.put(event("E", 400))
        for _ in range(16):
            writer.flush()
            read.append(pipe.read())
    lines = b"".join(read).splitlines()
    assert writer.dropped > 0
    reported = [int(line.split(b":")[1].split()[0]) for line in lines if line[:5] == b"PROBE"]
    merged = [int(line.split()[3]) for line in lines if line[:2] == b"bw"]
    behind = QUEUE_BYTES // (16 * PIPE_BYTES) * 2  # intervals
    assert sum(reported) >= writer.dropped - behind * 250
    assert sum(merged) >= (400 - behind) * 7


def test_a_flood_of_processes_is_bounded_too(pipe, writer):
    """10,000 sums may wait; those of more processes are counted as lost, not kept."""
    pipe.clog()
    for pid in range(1, 10_000 + 18):
        writer.put(bandwidth(7, Process(pid, 7_001, "x")))
    lines = b"".join(pipe.drain(writer)).splitlines()
    assert lines[0] == b"PROBE_LOST:17 at stdout"
    assert len(lines) == 10_001


@pytest.mark.parametrize("size", [67, 1_009, 2_048, 2_049, 4_095, 4_096])
def test_a_line_is_never_split_over_two_writes(pipe, writer, size):
    """Each write is whole lines and at most PIPE_BUF, so a reader sees no half of one."""
    pipe.clog()
    for _ in range(101):
        writer.put(event("E", size))
    pages = [page for page in pipe.drain(writer) if page]
    line = b"E\n".rjust(size, b".")
    assert select.PIPE_BUF == PIPE_BYTES
    assert all(len(page) <= PIPE_BYTES for page in pages)
    assert all(page == line * (len(page) // size) for page in pages)
    assert {len(page) for page in pages[:-1]} == {PIPE_BYTES // size * size}
    assert sum(len(page) for page in pages) == 101 * size


def test_the_descriptor_stays_in_blocking_mode(pipe, writer):
    """O_NONBLOCK would be set for everyone who shares stdout."""
    pipe.clog()
    writer.put(event("E"))
    writer.flush()
    assert os.get_blocking(pipe.write_fd)


@pytest.mark.parametrize("clogged", [False, True])
def test_a_reader_that_is_gone_stops_it(pipe, writer, clogged):
    """With room in the pipe or without: the next flush with something to write raises."""
    if clogged:
        pipe.clog()
    writer.put(event("E"))
    pipe.close_reader()
    with pytest.raises(ReaderGone):
        writer.flush()


def test_a_closed_stdout_stops_it(pipe, writer):
    """Started with >&-: no process will ever read."""
    pipe.close_writer()
    writer.put(event("E"))
    with pytest.raises(ReaderGone):
        writer.flush()


def test_a_reader_that_leaves_between_poll_and_write_stops_it(pipe, writer, monkeypatch):
    """EPIPE is the same end."""
    pipe.close_reader()
    monkeypatch.setattr(writer, "_writable", lambda _: True)
    writer.put(event("E"))
    with pytest.raises(ReaderGone):
        writer.flush()


def test_stdout_may_be_a_socket():
    """As some parents start their children; its end is noticed, too."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = Writer(theirs.fileno(), render, lambda: NOW_MS)
        writer.put(event("one"))
        writer.flush()
        assert ours.recv(64) == b"one\n"
        ours.close()
        writer.put(event("two"))
        with pytest.raises(ReaderGone):
            writer.flush()


def test_stdout_may_be_a_file(tmp_path):
    """A file always takes all."""
    with (tmp_path / "out").open("wb") as file:
        writer = Writer(file.fileno(), render, lambda: NOW_MS)
        for _ in range(1_009):
            writer.put(event("E", 101))
        writer.flush()
    assert (tmp_path / "out").stat().st_size == 1_009 * 101


def test_a_full_disk_is_an_error_the_user_can_read():
    """ENOSPC becomes one line with the remedy, not in a traceback."""
    with open("/dev/full", "wb", buffering=0) as full:
        writer = Writer(full.fileno(), render, lambda: NOW_MS)
        writer.put(event("E"))
        with pytest.raises(ProbeError, match=r"No space left on device\); make room"):
            writer.flush()


def test_a_last_flush_waits_for_a_reader_that_is_slow(pipe, writer):
    """With a time limit it waits for room, and gives up when none comes."""
    pipe.clog()
    writer.put(event("E"))
    writer.flush(timeout_ms=1)
    assert writer.pending
    pipe.read()
    writer.flush(timeout_ms=1_000)
    assert pipe.read() == b"E\n"


def test_an_answer_is_written_in_full(pipe):
    """More than the pipe holds; a reader that leaves early is no error."""
    answer = b"#" * 3 * PIPE_BYTES
    got = []
    reader = threading.Thread(target=lambda: got.extend(iter(lambda: os.read(fd, 101), b"")))
    fd = os.dup(pipe.read_fd)
    os.set_blocking(fd, True)
    reader.start()
    write_answer(pipe.write_fd, answer)
    pipe.close_writer()
    reader.join(60)
    os.close(fd)
    assert b"".join(got) == answer


def test_an_answer_without_a_reader_is_no_error(pipe):
    """`why 1 | head` exits quietly."""
    pipe.close_reader()
    write_answer(pipe.write_fd, b"#")


def test_an_answer_to_a_full_disk_names_the_remedy():
    """The same error as that of the stream."""
    remedy = pytest.raises(ProbeError, match=r"No space left on device\); make room")
    with open("/dev/full", "wb", buffering=0) as full, remedy:
        write_answer(full.fileno(), b"#")


def test_the_figures_are_what_the_reader_took_and_what_waits(pipe, writer):
    """A line counts as written with its last byte."""
    writer.put(event("a" * 99))
    writer.put(bandwidth(7))
    writer.put(bandwidth(11))
    found = writer.figures(7)
    assert (found.written, found.merged, found.dropped) == (0, 1, 0)
    assert (found.queued, found.queued_bytes, found.queue_bytes) == (2, 100, QUEUE_BYTES)
    pipe.drain(writer)
    found = writer.figures(7)
    assert (found.written, found.queued, found.queued_bytes) == (2, 0, 0)
    writer.put(event("b", 3 * PIPE_BYTES))
    writer.flush()
    assert writer.figures(7).written == 2
    assert writer.figures(7).queued == 1
    assert 0 < writer.figures(7).queued_bytes < 3 * PIPE_BYTES
    pipe.drain(writer)
    assert (writer.figures(7).written, writer.figures(7).queued) == (3, 0)


def test_what_finds_no_room_is_dropped_in_the_figures_at_once(pipe, writer):
    """The record of it has to wait for the reader."""
    assert writer.figures(7).dropped_ago_ms is None
    before_ns = time.monotonic_ns()
    for _ in range(23):
        writer.put(event("c", QUEUE_BYTES))
    found = writer.figures(time.monotonic_ns())
    assert found.dropped == 22
    assert 0 <= found.dropped_ago_ms <= (time.monotonic_ns() - before_ns) // 1_000_000
