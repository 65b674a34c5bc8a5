"""What the fuzzing found: bytes that no kernel should hand over end in a count or an error."""

from __future__ import annotations

import ctypes as c
import errno
import itertools
import mmap
import os
import struct
from collections import Counter
from types import SimpleNamespace

import pytest

from xctl_probe.bcc import kernel, maps
from xctl_probe.commands.why.threads import read_threads
from xctl_probe.ebpf import source
from xctl_probe.ebpf.abi import PROCESS_KEY, PROCESS_TRAFFIC, RECORD, Kind, RawEvent
from xctl_probe.ebpf.batches import read_batches
from xctl_probe.ebpf.process_totals import ProcessTotals
from xctl_probe.ebpf.programs import Hooks
from xctl_probe.ebpf.ringbuf import Ring
from xctl_probe.ebpf.source import RunningSource
from xctl_probe.errors import SourceUnavailable
from xctl_probe.events import DroppedEvents, ErrorKind, SocketError, TrafficDelta
from xctl_probe.figures import RingFigures
from xctl_probe.linux import procfs
from xctl_probe.linux.syscalls import Watched, epoll_watches

SECOND_NS = 1_000_000_000
NOTHING = RawEvent(*[0] * 21, bytes(16), bytes(16), bytes(16), 0)


def packed(**fields):
    return RECORD.pack(*NOTHING._replace(**fields))


RECEIVED = packed(kind=Kind.RECEIVED, pid=23)
REFUSED = packed(kind=Kind.REFUSED, occurrences=1)


class Table:
    def __init__(self, *items):
        self.rows = list(items)

    def items(self):
        return iter(self.rows)

    def lookup(self, _key, _copies=1):
        return None

    def delete(self, _key):
        self.rows.clear()


def kernel_source(drained=b"", queue=()):
    """A source over programs that give this, once."""
    chunks = iter([drained])
    reported = iter([list(queue)])
    programs = SimpleNamespace(
        map=lambda name, *_: Table(*([totals(7, 11)] if name == "processes" else [])),
        per_cpu_sums=lambda _, entries: [0] * entries,
        missed_runs=lambda: 0,
    )
    return RunningSource(
        SimpleNamespace(
            name="x",
            hooks=Hooks(()),
            programs=programs,
            queue=SimpleNamespace(records=lambda: next(reported, [])),
            collect_iter=SimpleNamespace(run=lambda: next(chunks, b"")),
            waiters_iter=SimpleNamespace(run=lambda: b""),
        ),
        100_000_000,
    )


OTHERS = packed(kind=Kind.REFUSED, occurrences=1, inode=9, uid=233)


@pytest.mark.parametrize(
    "unsound",
    [
        packed(kind=0),
        packed(kind=99),
        packed(kind=Kind.STALL, direction=0, inode=7),
        packed(kind=Kind.STALL, direction=1, inode=0),
        packed(kind=Kind.ONGOING, direction=99, inode=7),
        packed(kind=Kind.RESET, occurrences=0),
        REFUSED[:-1],
    ],
)
def test_a_record_that_makes_no_sense_is_counted_and_the_others_are_reported(unsound):
    """From an iterator and from the ring; once, not again with each drain."""
    seen = kernel_source(RECEIVED + unsound, [unsound, REFUSED])
    events = seen.drain(SECOND_NS).events
    assert [(f.sent_bytes, f.received_bytes) for f in events if isinstance(f, TrafficDelta)] == [
        (7, 11)
    ]
    assert [f.kind for f in events if isinstance(f, SocketError)] == [ErrorKind.REFUSED]
    assert [f for f in events if isinstance(f, DroppedEvents)] == [
        DroppedEvents("invalid_events", 2)
    ]
    assert seen.drain(2 * SECOND_NS).events == []


def test_rare_events_between_two_drains_are_bounded_and_counted(monkeypatch):
    """An interval may last an hour: one user's find half of the room, the rest is dropped."""
    monkeypatch.setattr(source, "_MOST_PENDING", 22)
    seen = kernel_source(queue=[REFUSED] * 16 + [OTHERS])
    seen.poll(SECOND_NS)
    events = seen.drain(2 * SECOND_NS).events
    assert Counter(f.socket.uid for f in events if isinstance(f, SocketError)) == {0: 11, 233: 1}
    assert events[-1] == DroppedEvents("event_queue_full", 5, 0)


def test_a_flood_of_failures_is_added_up_to_the_last(monkeypatch):
    """A thousand refusals of one process are a few events; another user's is one of its own."""
    seen = kernel_source(queue=[REFUSED] * 1_009 + [OTHERS])
    seen.poll(SECOND_NS)
    events = [f for f in seen.drain(2 * SECOND_NS).events if isinstance(f, SocketError)]
    assert sum(f.count for f in events if f.socket.uid == 0) == 1_009
    assert sum(f.sockets for f in events if f.socket.uid == 0) == 1_009
    assert len(events) < 32
    assert [(f.count, f.sockets) for f in events if f.socket.uid == 233] == [(1, 1)]
    assert seen.drain(3 * SECOND_NS).events == []  # each once


def totals(sent, received=0):
    """The one entry of a process that has moved so much."""
    pid = os.getpid()  # of a process that has ended, an entry without traffic is forgotten
    return PROCESS_KEY.pack(1, pid, 1, 1, 0), PROCESS_TRAFFIC.pack(sent, received, 7, pid, 0, b"x")


INTERFACES = SimpleNamespace(name=lambda *_: "eth0")


@pytest.mark.parametrize("absurd", [1 << 54, -(1 << 54), -(2**63)])
def test_a_process_whose_total_makes_no_sense_is_counted(absurd):
    """It leapt: nothing negative or enormous is reported, and it goes on from there."""
    table = Table(totals(101))
    processes = ProcessTotals(table)
    assert [f.sent_bytes for f in processes.traffic(INTERFACES)] == [101]
    table.rows = [totals(absurd)]
    assert list(processes.traffic(INTERFACES)) == [DroppedEvents("invalid_events", 1)]
    table.rows = [totals(absurd + 13)]
    assert [f.sent_bytes for f in processes.traffic(INTERFACES)] == [13]


def test_what_a_total_goes_back_by_is_made_up_for_before_more_is_reported():
    """A reader counted the same bytes; what came the other way at the same time is reported."""
    table = Table(totals(1_009, 101))
    processes = ProcessTotals(table)
    reported = []
    for now in (totals(1_009, 101), totals(908, 202), totals(990, 202), totals(1_022, 202)):
        table.rows = [now]
        reported += [(f.sent_bytes, f.received_bytes) for f in processes.traffic(INTERFACES)]
    assert reported == [(1_009, 101), (0, 101), (13, 0)]


@pytest.fixture
def ring():
    """A ring buffer of a page, by its two positions and its data."""
    made = []

    def make(consumed, produced, data, record_bytes=0):
        fd = os.memfd_create("ring")
        os.ftruncate(fd, 4 * mmap.PAGESIZE)
        os.pwrite(fd, struct.pack("=Q", consumed), 0)
        os.pwrite(fd, struct.pack("=Q", produced), mmap.PAGESIZE)
        for copy in (2, 3):
            os.pwrite(fd, data.ljust(mmap.PAGESIZE, b"\0"), copy * mmap.PAGESIZE)
        made.append((Ring(fd, mmap.PAGESIZE, record_bytes), fd))
        return made[-1]

    yield make
    for reader, fd in made:
        reader.close()
        os.close(fd)


def test_records_of_one_size_are_read_together_up_to_one_that_is_not_ready(ring):
    """Another one among them is read by itself, and the discarded one is not."""
    busy, discarded = 1 << 31, 1 << 30
    lengths = (8, 8, 8, 16, 8, 8 | discarded, 8, 8, 8 | busy, 8)
    data = b"".join(
        struct.pack("=II", length, 0) + bytes([number]) * (length & 0xFF)
        for number, length in enumerate(lengths)
    )
    reader, fd = ring(0, len(data), data, 8)
    sizes = [(set(body), len(body)) for body in reader.records()]
    assert sizes == [({0, 1, 2}, 24), ({3}, 16), ({4}, 8), ({6, 7}, 16)]
    assert list(reader.records()) == []
    assert struct.unpack("=Q", os.pread(fd, 8, 0)) == (8 * 16 + 8,)


@pytest.mark.parametrize("produced", [2**64 - 1, 2**40])
def test_a_ring_that_claims_to_hold_more_than_it_can_is_read_once(ring, produced):
    """Its whole room, and not a byte more."""
    reader, _ = ring(0, produced, b"")
    assert len(list(reader.records())) == mmap.PAGESIZE // 8
    assert list(ring(produced, 0, b"")[0].records()) == []
    assert ring(produced, 0, b"")[0].batch(struct.Struct("=Q")) == []


def test_a_record_longer_than_the_ring_stops_the_reading(ring):
    """What is there of it is given; the next reading begins at the end of what was there."""
    reader, fd = ring(0, 64, struct.pack("=II", 0x3FFFFFFF, 0) + b"x" * 56)
    assert list(reader.records()) == [b"x" * 56]
    assert struct.unpack("=Q", os.pread(fd, 8, 0)) == (64,)


def test_the_use_of_a_ring_is_what_waits_and_the_most_that_did(ring):
    """Read by the figures, or by a reader."""
    reader, fd = ring(0, 64, struct.pack("=II", 56, 0) + b"x" * 56)
    assert reader.use() == RingFigures(mmap.PAGESIZE, 64, 64)
    list(reader.records())
    assert reader.use() == RingFigures(mmap.PAGESIZE, 0, 64)
    os.pwrite(fd, struct.pack("=Q", 64 + 1_016), mmap.PAGESIZE)
    list(reader.records())
    assert reader.use() == RingFigures(mmap.PAGESIZE, 0, 1_016)


def test_a_flood_does_not_keep_the_reader_of_a_ring(ring):
    """More comes with each record that is taken: only what was there at first is read."""
    reader, fd = ring(0, 16 * 7, struct.pack("=IIQ", 8, 0, 0) * 200)
    read = 0
    for _ in reader.records():
        read += 1
        os.pwrite(fd, struct.pack("=Q", 16 * (7 + read)), mmap.PAGESIZE)
    assert read == 7


def test_a_flood_does_not_keep_the_reader_of_a_queue():
    """For kernels without a ring: it has room for 23, and is full again at once."""
    table = SimpleNamespace(value_bytes=8, fd=3, _lib=SimpleNamespace(take=lambda *_: 0))
    assert len(list(maps.Queue(table, 23).records())) == 23


def test_a_batch_that_claims_more_than_it_was_given_room_for_is_cut():
    """Four thousand million entries would fill the memory."""

    def lookup(_start, _cursor, _keys, _values, count):
        count.contents.value = 2**32 - 1
        c.set_errno(errno.ENOENT)
        return -1

    assert len(list(read_batches(lookup, 8, 8, batch=23))) == 23


def test_batches_without_end_and_content_end():
    """A kernel that always answers *there is more*, and never has any."""
    calls = itertools.count()

    def lookup(_start, _cursor, _keys, _values, count):
        assert next(calls) < 2
        count.contents.value = 0
        return 0

    assert list(read_batches(lookup, 8, 8)) == []


@pytest.mark.parametrize("text", [b"", b"\xff", b"0-", b"0-three", b"9" * 40])
def test_a_list_of_processors_that_is_none_is_an_error_with_its_remedy(tmp_path, text):
    (tmp_path / "possible").write_bytes(text)
    with pytest.raises(SourceUnavailable, match="mount /sys"):
        maps.possible_cpus(tmp_path / "possible")
    with pytest.raises(SourceUnavailable, match="mount /sys"):
        maps.possible_cpus(tmp_path / "none")


@pytest.mark.parametrize("junk", [b"\n", b"ffffffff81000000 T\n", b"\xff\n"])
def test_a_line_that_is_no_symbol_is_passed_over(tmp_path, junk):
    (tmp_path / "kallsyms").write_bytes(junk + b"ffffffff81000007 T tcp_sendmsg\n" + junk)
    assert kernel.symbols(["tcp_sendmsg"], tmp_path / "kallsyms") == {
        "tcp_sendmsg": 0xFFFFFFFF81000007
    }


def test_a_symbol_without_an_address_is_no_symbol(tmp_path):
    (tmp_path / "kallsyms").write_bytes(b"where? T tcp_sendmsg\n")
    assert kernel.symbols(["tcp_sendmsg"], tmp_path / "kallsyms") == {}


@pytest.mark.parametrize(
    ("status", "held"),
    [
        (b"Name:\t\xff\xfe\nCapEff:\t0000008000000000\n", 1 << 39),
        (b"CapEff:\n", 0),
        (b"CapEff:\tall\n", 0),
        (b"", 0),
    ],
)
def test_capabilities_are_found_whatever_the_process_calls_itself(status, held):
    """The kernel escapes a newline in a name, and nothing else."""
    assert procfs.effective_capabilities(status) == held


def test_an_fdinfo_may_hold_any_bytes(tmp_path):
    (tmp_path / "233/fdinfo").mkdir(parents=True)
    line = b"tfd:        5 events:       19 data: 5\n"
    (tmp_path / "233/fdinfo/7").write_bytes(b"\xff\xfe\n" + line)
    assert epoll_watches(233, 7, tmp_path) == (Watched(5, True, False),)


def thread_files(tmp_path, processor, exec_start):
    task = tmp_path / "233/task/239"
    task.mkdir(parents=True)
    fields = [b"S", *[b"1"] * 50]
    fields[36] = processor
    (task / "stat").write_bytes(b"239 (x) " + b" ".join(fields))
    (task / "sched").write_bytes(b"se.exec_start  : " + exec_start + b"\n")
    return read_threads(233, tmp_path)


def test_a_thread_on_a_processor_that_is_none_is_passed_over(tmp_path):
    assert thread_files(tmp_path, b"0A", b"1.5") == []


def test_a_time_that_is_none_is_unknown(tmp_path):
    (thread,) = thread_files(tmp_path, b"3", b"soon")
    assert (thread.cpu, thread.last_ran_ms) == (3, None)
