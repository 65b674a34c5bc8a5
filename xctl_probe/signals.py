"""SIGINT and SIGTERM as something to wait for, next to everything else one waits for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[socket.socket]:
    """A socket that becomes readable at SIGINT and SIGTERM."""
    readable, writable = socket.socketpair()
    writable.setblocking(False)
    before = signal.set_wakeup_fd(writable.fileno(), warn_on_full_buffer=False)
    handlers = {s: signal.signal(s, _noted) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield readable
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        readable.close()
        writable.close()


def _noted(number: int, frame: FrameType | None) -> None:
    """The wakeup descriptor has the news already."""
