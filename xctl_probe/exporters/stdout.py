"""Output to stdout: records for a reader of any speed, and the text of one command.

The reader may stop for minutes.  The probe continues to measure, in bounded memory: stall and error
lines wait in a queue bounded in bytes; records of bandwidth, CPU and memory are merged by what they
are of.
The records of one user may fill as much of the queue as is still free.

Lines come first, then what was dropped, then the merged records.  A reader that is too slow never
takes the last line; the others have a turn after as many lines as the queue holds.
"""

from __future__ import annotations

import io
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from xctl_probe.errors import ProbeError
from xctl_probe.events import DroppedEvents, Process, SocketError
from xctl_probe.exporters.base import Exporter
from xctl_probe.exporters.labels import entity
from xctl_probe.exporters.outlet import outlet, write_all
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    MemoryRecord,
    ProcessRecord,
    Record,
    StallRecord,
)
from xctl_probe.fair import Room
from xctl_probe.figures import RecordFigures

QUEUE_BYTES = 4 << 20
_COALESCED = 10_000  # queued records of amounts, one for each entity and process
# A write to a pipe is atomic up to this size (PIPE_BUF, pipe(7)).
_PIPE_BUF = select.PIPE_BUF
_NS_PER_MS = 1_000_000
_PAUSE_MS = 20  # before the next write to a terminal that polls writable but takes nothing


_Amount = BandwidthRecord | CpuRecord | MemoryRecord


class ReaderGone(Exception):
    """The reader of stdout is gone."""


class Writer:
    """Writes records to a descriptor without blocking.

    `now_ms` is the clock for reports of dropped records.
    """

    def __init__(self, fd: int, render: Exporter, now_ms: Callable[[], int]) -> None:
        self._outlet = outlet(fd)
        self._render = render
        self._now_ms = now_ms
        self._lines: deque[tuple[bytes, int | None]] = deque()  # with the user
        self._room: Room[int] = Room(QUEUE_BYTES)
        self._rest = memoryview(b"")  # of a chunk that was written in part
        self._in_chunk = 0  # lines of that chunk
        self._written = self._merged = self._dropped = 0  # since the start
        self._dropped_ns: int | None = None
        self._refused = False
        self._amounts: dict[tuple[type, str, Process | None], _Amount] = {}
        self._in_turn = 0  # bytes of lines since there was none, or since the turn of the others
        self._lost = 0
        self._reported = 0  # of the lost ones, in all
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def pending(self) -> bool:
        """True while output is queued."""
        return bool(self._rest or self._lines or self._amounts or self._lost)

    @property
    def dropped(self) -> int:
        """Number of records that were dropped since the start."""
        return self._reported + self._lost

    @property
    def refused(self) -> bool:
        """True where the last write took nothing although the descriptor polls writable."""
        return self._refused

    def put(self, record: Record) -> None:
        """Queue a record; it is written when the reader takes it."""
        if isinstance(record, _Amount):
            key = (type(record), entity(record), record.owner)
            waiting = self._amounts.get(key)
            if waiting is not None:
                record = _merged(waiting, record)
                self._merged += 1
            elif len(self._amounts) >= _COALESCED:
                self._drop(1)
                return
            self._amounts[key] = record
            return
        line, user = self._render(record), _user(record)
        if not self._room.take(user, len(line)):
            self._drop(_count(record))
            return
        self._lines.append((line, user))

    def figures(self, now_ns: int) -> RecordFigures:
        """Return the counts since the start; `now_ns` is CLOCK_MONOTONIC."""
        ago_ns = None if self._dropped_ns is None else now_ns - self._dropped_ns
        return RecordFigures(
            written=self._written,
            merged=self._merged,
            dropped=self._dropped,
            queued=self._in_chunk + len(self._lines) + len(self._amounts),
            queued_bytes=len(self._rest) + self._room.used,
            queue_bytes=QUEUE_BYTES,
            dropped_ago_ms=None if ago_ns is None else ago_ns // _NS_PER_MS,
        )

    def flush(self, timeout_ms: int = 0) -> None:
        """Write what the reader takes, within at most `timeout_ms`.

        Raises ReaderGone when the reader has closed the pipe, ProbeError where a write fails
        (a full disk).
        """
        until_ns = time.monotonic_ns() + timeout_ms * _NS_PER_MS
        while self.pending:
            left_ms = max(until_ns - time.monotonic_ns(), 0) // _NS_PER_MS
            if not self._writable(left_ms):
                return
            self._write(self._rest or memoryview(self._next_chunk()))
            if self._refused and not left_ms:
                return
            if self._refused:
                time.sleep(min(left_ms, _PAUSE_MS) / 1000)

    def close(self) -> None:
        """Close the outlet.  Safe to call twice."""
        self._outlet.close()

    def _drop(self, count: int) -> None:
        self._lost += count
        self._dropped += count
        self._dropped_ns = time.monotonic_ns()

    def _writable(self, timeout_ms: int) -> bool:
        for _, events in self._poll.poll(timeout_ms):
            if events & (select.POLLERR | select.POLLNVAL | select.POLLHUP):
                raise ReaderGone
            return bool(events & select.POLLOUT)
        return False

    def _next_chunk(self) -> bytes:
        """Return as many whole lines as fit."""
        if not self._lines or self._in_turn >= QUEUE_BYTES:
            self._in_turn = 0
            self._put_others_first()
        chunk = [self._next_line()]
        size = len(chunk[0])
        while self._lines and size + len(self._lines[0][0]) <= _PIPE_BUF:
            chunk.append(self._next_line())
            size += len(chunk[-1])
        self._in_turn += size
        self._in_chunk = len(chunk)
        return b"".join(chunk)

    def _put_others_first(self) -> None:
        """Queue what was dropped, and the merged records, before the lines.

        Rendered only now, so that later intervals are merged into them while they wait.
        """
        others: list[Record] = list(self._amounts.values())
        if self._lost:
            others.insert(0, ErrorRecord(self._now_ms(), DroppedEvents("stdout", self._lost)))
        self._reported += self._lost
        self._lost = 0
        self._amounts.clear()
        for record in reversed(others):
            line = self._render(record)
            self._lines.appendleft((line, None))
            self._room.add(None, len(line))

    def _next_line(self) -> bytes:
        line, user = self._lines.popleft()
        self._room.give_back(user, len(line))
        return line

    def _write(self, chunk: memoryview) -> None:
        try:
            taken = self._outlet.write(chunk)
        except (BrokenPipeError, ConnectionResetError):
            raise ReaderGone from None
        except OSError as error:
            raise _cannot_write(error) from error
        self._refused = not taken
        self._rest = chunk[taken:]
        if not self._rest:
            self._written += self._in_chunk
            self._in_chunk = 0


def _merged(waiting: _Amount, record: _Amount) -> _Amount:
    match waiting, record:
        case BandwidthRecord(), BandwidthRecord():
            return waiting.merge(record)
        case CpuRecord(), CpuRecord():
            return waiting.merge(record)
        case _:
            return record


class _Printed(io.StringIO):
    """Text for stdout, in its encoding; ASCII where it is closed."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.__stdout__, "encoding", None) or "ascii"


@contextmanager
def printed_as_answer(fd: int) -> Iterator[None]:
    """Write what is printed meanwhile (help, the version) as the output of a command.

    Python writes the rest of sys.stdout at the exit, and an error then is a traceback.
    """
    printed = _Printed()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        if text := printed.getvalue():
            write_answer(fd, text.encode(printed.encoding, "backslashreplace"))


def write_answer(fd: int, answer: bytes) -> bool:
    """Write the output of a command, and wait for the reader.

    False where the reader is gone (`| head`), which is no error.  Raises ProbeError where a write
    fails (a full disk, a closed descriptor).
    """
    try:
        write_all(fd, answer)
    except BrokenPipeError:
        return False
    except OSError as error:
        raise _cannot_write(error) from error
    return True


def _cannot_write(error: OSError) -> ProbeError:
    return ProbeError(
        f"stdout cannot be written ({error.strerror}); make room, or send it elsewhere"
    )


def _count(record: StallRecord | ErrorRecord | ProcessRecord) -> int:
    """Return the number of failures that are dropped with this record."""
    if isinstance(record, (StallRecord, ProcessRecord)):
        return 1
    if isinstance(record.error, InterfaceErrors):
        return 1
    return record.error.count


def _user(record: StallRecord | ErrorRecord | ProcessRecord) -> int | None:
    """Return the user of the record's process, None where unknown."""
    match record:
        case StallRecord():
            return record.stall.socket.uid
        case ErrorRecord(error=SocketError() as error):
            return error.socket.uid
        case ErrorRecord(error=DroppedEvents() as lost):
            return lost.uid
        case _:
            return None
