"""Output to stdout: records, however slowly they are read, and the text of one command.

The reader may stop for minutes.  Writing then must not stop the measuring, lose the record
of a stall, or grow without bound: stall and error lines wait in a queue bounded in bytes, and
bandwidth is added up, one record for each interface and process.  A user whose processes fill
the queue leaves room for the others: he may have as much of it as is still free.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable

from xctl_probe.errors import ProbeError
from xctl_probe.events import DroppedEvents, Process, SocketError
from xctl_probe.exporters.base import Exporter
from xctl_probe.exporters.outlet import outlet, write_all
from xctl_probe.exporters.records import (
    BandwidthRecord,
    ErrorRecord,
    InterfaceErrors,
    Record,
    StallRecord,
)
from xctl_probe.fair import Room

QUEUE_BYTES = 4 << 20
_COALESCED = 10_000  # bandwidth records that may wait, one per interface and process
# Up to this much a write to a pipe is one piece (PIPE_BUF, pipe(7)), whoever else writes to it.
_PIPE_BUF = select.PIPE_BUF
_NS_PER_MS = 1_000_000
_PAUSE_MS = 20  # before the next attempt at a terminal that polls writable, and takes nothing


class ReaderGone(Exception):
    """Nobody reads stdout any more."""


class Writer:
    """Writes records to a descriptor without ever waiting for its reader.

    `now_ms` stamps the probe's own report of what it had to drop.
    """

    def __init__(self, fd: int, render: Exporter, now_ms: Callable[[], int]) -> None:
        self._outlet = outlet(fd)
        self._render = render
        self._now_ms = now_ms
        self._lines: deque[tuple[bytes, int | None]] = deque()  # with whose user's they are
        self._room: Room[int] = Room(QUEUE_BYTES)
        self._rest = memoryview(b"")  # of a chunk that was taken in part
        self._refused = False
        self._bandwidth: dict[tuple[str, Process | None], BandwidthRecord] = {}
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def pending(self) -> bool:
        """True while something waits to be written."""
        return bool(self._rest or self._lines or self._bandwidth or self._lost)

    @property
    def refused(self) -> bool:
        """True where the last write found no room although the descriptor polls writable."""
        return self._refused

    def put(self, record: Record) -> None:
        """Take a record; write it when the reader lets us."""
        if isinstance(record, BandwidthRecord):
            key = (record.interface, record.owner)
            waiting = self._bandwidth.get(key)
            if waiting is not None:
                record = waiting.merge(record)
            elif len(self._bandwidth) >= _COALESCED:
                self._lost += 1
                return
            self._bandwidth[key] = record
            return
        line, user = self._render(record), _user(record)
        if not self._room.take(user, len(line)):
            self._lost += _count(record)
            return
        self._lines.append((line, user))

    def flush(self, timeout_ms: int = 0) -> None:
        """Write what the reader takes, waiting at most `timeout_ms` in all while it is slow.

        Raises ReaderGone when the other end is closed, ProbeError when it takes no more (a
        full disk).
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
        """Give back what was opened to write without waiting.  Safe to call twice."""
        self._outlet.close()

    def _writable(self, timeout_ms: int) -> bool:
        for _, events in self._poll.poll(timeout_ms):
            if events & (select.POLLERR | select.POLLNVAL | select.POLLHUP):
                raise ReaderGone
            return bool(events & select.POLLOUT)
        return False

    def _next_chunk(self) -> bytes:
        """Whole lines, as many as fit; what was dropped is told once there is room."""
        if self._lost and not self._lines:
            record = ErrorRecord(self._now_ms(), DroppedEvents("stdout", self._lost))
            self._lost = 0
            return self._render(record)
        if not self._lines:
            # Rendered only now, so that windows could be added to it while it waited.
            for waiting in self._bandwidth.values():
                line = self._render(waiting)
                self._lines.append((line, None))
                self._room.add(None, len(line))
            self._bandwidth.clear()
        chunk = [self._next_line()]
        size = len(chunk[0])
        while self._lines and size + len(self._lines[0][0]) <= _PIPE_BUF:
            chunk.append(self._next_line())
            size += len(chunk[-1])
        return b"".join(chunk)

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


def write_answer(fd: int, answer: bytes) -> None:
    """Write the whole output of a command that prints and leaves, and wait for the reader.

    A reader that has left (`| head`) is no error.  Raises ProbeError where it cannot be written
    (a full disk, a closed descriptor).
    """
    try:
        write_all(fd, answer)
    except BrokenPipeError:
        return
    except OSError as error:
        raise _cannot_write(error) from error


def _cannot_write(error: OSError) -> ProbeError:
    return ProbeError(
        f"stdout cannot be written ({error.strerror}); make room, or send it elsewhere"
    )


def _count(record: StallRecord | ErrorRecord) -> int:
    """How many failures are lost with this record."""
    if isinstance(record, StallRecord) or isinstance(record.error, InterfaceErrors):
        return 1
    return record.error.count


def _user(record: StallRecord | ErrorRecord) -> int | None:
    """Whose processes the record is about, None where that is not known, or nobody's."""
    match record:
        case StallRecord():
            return record.stall.socket.uid
        case ErrorRecord(error=SocketError() as error):
            return error.socket.uid
        case ErrorRecord(error=DroppedEvents() as lost):
            return lost.uid
        case _:
            return None
