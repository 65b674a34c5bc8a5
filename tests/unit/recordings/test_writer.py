"""The recorder: what is put is read back, and what is not kept is counted."""

from __future__ import annotations

import errno
import gzip
import threading
from contextlib import closing

import pytest
from support.records import STALL

from xctl_probe.errors import UsageError
from xctl_probe.events import Placement, Process, ProcessState, State
from xctl_probe.exporters.records import ProcessRecord, StallRecord
from xctl_probe.recordings import writer as module
from xctl_probe.recordings.limits import Limits
from xctl_probe.recordings.parse import to_record
from xctl_probe.recordings.reader import Recording
from xctl_probe.recordings.writer import Recorder

ENOUGH_S = 45.0  # only where a test fails


def stalls(ts_ms, count=1):
    return [StallRecord(ts_ms, STALL)] * count


def read(path):
    """The time of each interval, and the types of its records."""
    with closing(Recording(path)) as recording:
        return [
            (interval.ts_ms, [type(one) for one in interval.records()])
            for interval in recording.intervals()
        ]


@pytest.fixture
def reports():
    return []


@pytest.fixture
def recorder(tmp_path, reports):
    made = Recorder(tmp_path / "ring", Limits(), reports.append)
    yield made
    made.close(ENOUGH_S)


def test_what_is_put_is_read_back(recorder, tmp_path, reports):
    recorder.put(stalls(1_009, 3))
    recorder.put(stalls(2_003, 2))
    recorder.close(ENOUGH_S)
    assert read(tmp_path / "ring") == [(1_009, [StallRecord] * 3), (2_003, [StallRecord] * 2)]
    assert (recorder.dropped(), reports) == (0, [])


class HeldDisk:
    """A ring whose first write returns only when the test lets it."""

    def __init__(self, *_):
        self.begun, self.goes_on, self.written = threading.Event(), threading.Event(), 0

    def append(self, _member):
        self.written += 1
        self.begun.set()
        assert self.goes_on.wait(ENOUGH_S)

    def close(self):
        pass


@pytest.fixture
def held(monkeypatch):
    disk = HeldDisk()
    monkeypatch.setattr(module, "Ring", lambda *_: disk)
    yield disk
    disk.goes_on.set()


def test_a_slow_disk_delays_no_interval_and_what_is_dropped_is_counted(held, tmp_path, reports):
    """Up to a limit it is queued; beyond it, each record counts; one line goes to stderr."""
    recorder = Recorder(tmp_path, Limits(), reports.append)
    recorder.put(stalls(1_009))
    assert held.begun.wait(ENOUGH_S)
    recorder.put(stalls(2_003, 10_007))  # an interval of any size, where none is queued
    assert recorder.dropped() == 0
    recorder.put(stalls(3_001, 23))
    recorder.put(stalls(4_001, 7))
    assert (recorder.dropped(), recorder.dropped()) == (30, 0)
    assert [line for line in reports if "too slow" in line and "PROBE_LOST" in line] == reports
    assert len(reports) == 1
    recorder.close(0)  # of a disk that hangs: what is queued is dropped, too
    assert recorder.dropped() == 10_007


class FullDisk:
    """A ring that has no room until the test makes some."""

    def __init__(self):
        self.full, self.members, self.attempts = True, [], threading.Semaphore(0)

    def append(self, member):
        self.attempts.release()
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.members.append(member)

    def close(self):
        pass


def test_a_full_disk_is_counted_reported_once_and_tried_again(monkeypatch, tmp_path, reports):
    disk = FullDisk()
    monkeypatch.setattr(module, "Ring", lambda *_: disk)
    recorder = Recorder(tmp_path, Limits(), reports.append)
    for number in range(3):
        recorder.put(stalls(number, 11))
        assert disk.attempts.acquire(timeout=ENOUGH_S)
    disk.full = False
    recorder.put(stalls(3, 7))
    recorder.close(ENOUGH_S)
    assert recorder.dropped() == 33
    assert len(disk.members) == 1
    (line,) = reports
    assert line.startswith(f"--record {tmp_path}: No space left on device; ")


class NewFiles:
    """A ring that begins a file with each member."""

    def __init__(self, _path, _limits, head):
        self.head, self.files, self.written = head, [], threading.Semaphore(0)

    def append(self, member):
        self.files.append(self.head() + member)
        self.written.release()

    def close(self):
        pass


def state(pid, which):
    process = Process(pid, 0, "train")
    return ProcessRecord(1_009, ProcessState(process, Placement(job_id="4711", rank=pid), which))


def test_each_file_begins_with_the_processes_of_jobs(monkeypatch, tmp_path):
    """Those that have begun and not exited, with the time of the interval that follows."""
    monkeypatch.setattr(module, "Ring", NewFiles)
    recorder = Recorder(tmp_path, Limits(), lambda _: None)
    for records in (
        [state(3, State.START), state(5, State.START), *stalls(1_009)],
        [*stalls(2_003), state(5, State.EXIT)],
        stalls(3_001),
    ):
        recorder.put(records)
        assert recorder._ring.written.acquire(timeout=ENOUGH_S)
    recorder.close(ENOUGH_S)
    found = [
        [(one.ts_ms, one.owner.pid) for one in map(to_record, gzip.decompress(file).splitlines())]
        for file in recorder._ring.files
    ]
    stalled = STALL.owner.pid
    assert found == [
        [(1_009, 3), (1_009, 5), (1_009, stalled)],
        [(2_003, 3), (2_003, 5), (2_003, stalled), (1_009, 5)],
        [(3_001, 3), (3_001, stalled)],
    ]


class SlowDisk(NewFiles):
    """Its first write goes on when the test lets it."""

    def __init__(self, *words):
        super().__init__(*words)
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def append(self, member):
        self.begun.set()
        assert self.goes_on.wait(ENOUGH_S)
        super().append(member)


def test_processes_that_begin_and_exit_while_the_disk_is_slow_are_known(monkeypatch, tmp_path):
    """Their records are dropped; the next file has those that are left all the same."""
    monkeypatch.setattr(module, "Ring", SlowDisk)
    recorder = Recorder(tmp_path, Limits(), lambda _: None)
    disk = recorder._ring
    recorder.put([state(pid, State.START) for pid in (3, 5)])
    assert disk.begun.wait(ENOUGH_S)
    recorder.put(stalls(2_003, module._MOST_QUEUED - 2))
    recorder.put([state(3, State.EXIT), *(state(pid, State.START) for pid in (7, 11))])
    recorder.put([state(11, State.EXIT)])
    disk.goes_on.set()
    for _ in range(2):
        assert disk.written.acquire(timeout=ENOUGH_S)
    recorder.put(stalls(3_001))
    recorder.close(ENOUGH_S)
    last = map(to_record, gzip.decompress(disk.files[-1]).splitlines())
    assert [one.owner.pid for one in last] == [5, 7, STALL.owner.pid]


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    tmp_path.chmod(0o700)
    with pytest.raises(UsageError, match="name a directory that can be written"):
        Recorder(tmp_path, Limits(), lambda _: None)
