"""SIGINT, SIGTERM and SIGHUP as a descriptor for poll(2)."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_READ_WITHIN_S = 0.1


@contextmanager
def stop_signals(
    longest_s: float | None = None,
    at_exit: Callable[[], None] = lambda: None,
    *,
    writes_block: bool = False,
) -> Iterator[socket.socket]:
    """Yield a socket that becomes readable at SIGINT, SIGTERM and SIGHUP.

    A SIGHUP that is ignored stays so: nohup(1) runs a command beyond its terminal.

    With `longest_s`, the process exits at most this many seconds after the first of them, with code
    0, whatever it is busy with.  `at_exit` is called before, and must not block.  `writes_block`:
    the main thread may be in a write that never returns, as on a terminal that no one reads.
    """
    readable, writable = socket.socketpair()
    writable.setblocking(False)
    before = signal.set_wakeup_fd(writable.fileno(), warn_on_full_buffer=False)
    numbers = _numbers()
    handlers = {number: signal.signal(number, _noted) for number in numbers}
    left = threading.Event()
    late = None
    if longest_s is not None:
        if writes_block:
            words = readable, frozenset(numbers), longest_s, at_exit, left
            late = threading.Thread(target=_exit_late, args=words, daemon=True)
            late.start()
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
        left.set()
        writable.close()
        if late is not None:
            late.join()
        readable.close()


def _exit_late(
    readable: socket.socket,
    numbers: frozenset[int],
    longest_s: float,
    at_exit: Callable[[], None],
    left: threading.Event,
) -> None:
    """Exit `longest_s` after one of these signals, unless the block is left before.

    Python runs a handler between two instructions.  A signal that comes just before a write that
    blocks interrupts nothing: its handler, and with it the alarm, would wait for the write.
    """
    while received := readable.recv(64, socket.MSG_PEEK):
        if numbers.intersection(received):
            if not left.wait(longest_s):
                at_exit()
                os._exit(0)
            return
        left.wait(_READ_WITHIN_S)  # until the other signals have been read


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
