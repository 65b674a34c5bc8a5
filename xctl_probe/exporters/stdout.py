"""Records to stdout, whoever reads it and however slowly.

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
from xctl_probe.events import Lost, Process
from xctl_probe.exporters.outlet import outlet
from xctl_probe.exporters.records import Bandwidth, Event, Record, lost_event
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

    `render` turns a record into its line.  `now_ms` stamps the probe's own report of what it
    had to drop.
    """

    def __init__(
        self, fd: int, render: Callable[[Record], bytes], now_ms: Callable[[], int]
    ) -> None:
        self._outlet = outlet(fd)
        self._render = render
        self._now_ms = now_ms
        self._lines: deque[tuple[bytes, int | None]] = deque()  # with whose user's they are
        self._room: Room[int] = Room(QUEUE_BYTES)
        self._rest = memoryview(b"")  # of a chunk that was taken in part
        self._refused = False
        self._bandwidth: dict[tuple[str, Process | None], Bandwidth] = {}
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
        if isinstance(record, Bandwidth):
            key = (record.interface, record.owner)
            waiting = self._bandwidth.get(key)
            if waiting is not None:
                record = waiting.plus(record)
            elif len(self._bandwidth) >= _COALESCED:
                self._lost += 1
                return
            self._bandwidth[key] = record
            return
        line, user = self._render(record), _user(record)
        if not self._room.take(user, len(line)):
            self._lost += record.count
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
            event = lost_event(Lost("stdout", self._lost), self._now_ms())
            self._lost = 0
            return self._render(event)
        if not self._lines:
            # Rendered only now, so that windows could be added to it while it waited.
            for record in self._bandwidth.values():
                line = self._render(record)
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
            raise ProbeError(
                f"stdout cannot be written ({error.strerror}); make room, or send it elsewhere"
            ) from error
        self._refused = not taken
        self._rest = chunk[taken:]


def _user(event: Event) -> int | None:
    """Whose processes the event is about, None where that is not known, or nobody's."""
    user = event.net.get("uid")
    return user if isinstance(user, int) else None
