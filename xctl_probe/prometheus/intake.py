"""Passes the records of intervals from the loop to a thread.  The loop waits for nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from xctl_probe.exporters.records import Record

_MOST_QUEUED = 8_192  # records.  An interval may be longer where none is queued


class Intake:
    """A bounded queue with a descriptor that is readable while something is in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[list[Record]] = []
        self._count = 0
        self._dropped = 0
        self._stopped = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._fd

    def put(self, records: Sequence[Record]) -> None:
        """Queue the records of one interval; where there is no room, they are dropped."""
        with self._lock:
            if self._queue and self._count + len(records) > _MOST_QUEUED:
                self._dropped += len(records)
                return
            self._queue.append(list(records))
            self._count += len(records)
        self._wake()

    def dropped(self) -> int:
        """Return the number of records that were dropped since the last call."""
        with self._lock:
            count, self._dropped = self._dropped, 0
            return count

    def drop(self, count: int) -> None:
        """Count records that could not be used."""
        with self._lock:
            self._dropped += count

    def stop(self) -> None:
        """Let the thread end, after what is queued."""
        self._stopped = True
        self._wake()

    def take(self) -> tuple[list[list[Record]], bool]:
        """Return the queued intervals, and whether the thread is to end."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        with self._lock:
            intervals, self._queue, self._count = self._queue, [], 0
            return intervals, self._stopped

    def close(self) -> None:
        """Close the descriptor, where no thread was started."""
        os.close(self._fd)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is readable anyway
            os.eventfd_write(self._fd, 1)
