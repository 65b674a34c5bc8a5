"""Records to stdout, whoever reads it and however slowly.

The reader may stop for minutes.  Writing then must not stop the measuring, lose the record
of a stall, or grow without bound: stall and error lines wait in a queue bounded in bytes, and
bandwidth is added up, one record for each interface and process.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable

from xctl_probe.errors import ProbeError
from xctl_probe.facts import Lost, Process
from xctl_probe.records import Bandwidth, Record, lost_event

QUEUE_BYTES = 4 << 20
_COALESCED = 10_000  # bandwidth records that may wait, one per interface and process
# A pipe that polls writable takes this much without blocking (PIPE_BUF, pipe(7)), so stdout
# stays in blocking mode: O_NONBLOCK would be set for everyone who shares it.
_PIPE_BUF = select.PIPE_BUF


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
        self._fd = fd
        self._render = render
        self._now_ms = now_ms
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._bandwidth: dict[tuple[str, Process | None], Bandwidth] = {}
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def pending(self) -> bool:
        """True while something waits to be written."""
        return bool(self._lines or self._bandwidth or self._lost)

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
        line = self._render(record)
        if self._bytes + len(line) > QUEUE_BYTES:
            self._lost += 1
            return
        self._lines.append(line)
        self._bytes += len(line)

    def flush(self, timeout_ms: int = 0) -> None:
        """Write what the reader takes, waiting at most `timeout_ms` each time it is slow.

        Raises ReaderGone when the other end is closed, ProbeError when it takes no more (a
        full disk).
        """
        while self.pending and self._writable(timeout_ms):
            self._write(self._next_chunk())

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
                self._lines.append(line)
                self._bytes += len(line)
            self._bandwidth.clear()
        chunk = [self._lines.popleft()]
        size = len(chunk[0])
        while self._lines and size + len(self._lines[0]) <= _PIPE_BUF:
            chunk.append(self._lines.popleft())
            size += len(chunk[-1])
        self._bytes -= size
        return b"".join(chunk)

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except (BrokenPipeError, ConnectionResetError):
            raise ReaderGone from None
        except OSError as error:
            raise ProbeError(
                f"stdout cannot be written ({error.strerror}); make room, or send it elsewhere"
            ) from error
