"""Writes to stdout that take what fits now and never block.

O_NONBLOCK belongs to the open file description, which other processes share (shell, consumer), so
it is never set on stdout.  A pipe and a terminal are opened again through /proc, a socket takes
MSG_DONTWAIT, and a write to a file does not block for long.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
from typing import Protocol

_REOPEN = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Outlet(Protocol):
    """Writer of bytes to stdout."""

    def write(self, data: memoryview) -> int:
        """Return the number of bytes written, 0 where none fit now.  Raises OSError."""

    def close(self) -> None:
        """Close what was opened here; stdout stays open."""


def outlet(fd: int) -> Outlet:
    """Return the outlet for this descriptor."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # closed: each write raises it
        return _Plain(fd)
    if stat.S_ISSOCK(mode):
        return _Socket(fd)
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return _Plain(fd)
    try:
        return _Plain(os.open(f"/proc/self/fd/{fd}", _REOPEN), opened=True)
    except OSError:
        # No /proc, no free descriptor, or a pipe of another user.  A pipe that polls
        # writable takes PIPE_BUF bytes at once (pipe(7)); a terminal may not.
        return _Plain(fd) if stat.S_ISFIFO(mode) else _Thread(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, and wait for the reader.  Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Plain:
    def __init__(self, fd: int, *, opened: bool = False) -> None:
        self._fd = fd
        self._opened = opened

    def write(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        if self._opened:
            self._opened = False
            os.close(self._fd)


class _Socket:
    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=os.dup(fd))

    def write(self, data: memoryview) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._socket.close()


class _Thread:
    """A write that may block, in a thread that the probe does not wait for.

    The thread dies with the process: a fatal signal interrupts the write to a terminal.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def write(self, data: memoryview) -> int:
        if self._thread is not None:
            if self._thread.is_alive():
                return 0
            self._thread = None
        if self._error is not None:
            raise self._error
        taken = bytes(data[: select.PIPE_BUF])
        thread = threading.Thread(target=self._write_all, args=(taken,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: the next attempt may get one
            return 0
        self._thread = thread
        return len(taken)

    def close(self) -> None:
        """Do nothing: the thread dies with the process."""

    def _write_all(self, data: bytes) -> None:
        try:
            write_all(self._fd, data)
        except OSError as error:
            self._error = error
