"""SIGINT, SIGTERM and SIGHUP as a descriptor for poll(2)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals(
    longest_s: float | None = None, at_exit: Callable[[], None] = lambda: None
) -> Iterator[socket.socket]:
    """Yield a socket that becomes readable at SIGINT, SIGTERM and SIGHUP.

    A SIGHUP that is ignored stays so: nohup(1) runs a command beyond its terminal.

    With `longest_s`, the process exits at most this many seconds after the first of them, with code
    0, whatever it is busy with.  `at_exit` is called before, and must not block.
    """
    readable, writable = socket.socketpair()
    writable.setblocking(False)
    before = signal.set_wakeup_fd(writable.fileno(), warn_on_full_buffer=False)
    numbers = _numbers()
    handlers = {number: signal.signal(number, _noted) for number in numbers}
    if longest_s is not None:
        handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, _exiting(at_exit))
        for number in numbers:
            signal.signal(number, _ending_within(longest_s))
    try:
        yield readable
    finally:
        if longest_s is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        readable.close()
        writable.close()


def _numbers() -> tuple[signal.Signals, ...]:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wakeup descriptor is readable already."""


def _ending_within(longest_s: float) -> Callable[[int, FrameType | None], None]:
    def noted(_number: int, _frame: FrameType | None) -> None:
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0:  # a second signal gives no more time
            signal.setitimer(signal.ITIMER_REAL, longest_s)

    return noted


def _exiting(at_exit: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    def out_of_time(_number: int, _frame: FrameType | None) -> None:
        at_exit()
        os._exit(0)

    return out_of_time
