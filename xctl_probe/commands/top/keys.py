"""Key names from the bytes of a terminal.  termios(3), console_codes(4)."""

from __future__ import annotations

import os
import select
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_SEQUENCES = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left",
    b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left",
    b"\x1b[5~": "page-up", b"\x1b[6~": "page-down",
    b"\x1b[H": "home", b"\x1b[F": "end", b"\x1bOH": "home", b"\x1bOF": "end",
    b"\x1b[1~": "home", b"\x1b[4~": "end",
}  # fmt: skip
_SINGLE = {
    b"\r": "enter", b"\n": "enter", b"\x7f": "backspace", b"\x08": "backspace",
    b"\x03": "ctrl-c", b"\x1b": "escape",
}  # fmt: skip
_ESCAPE = b"\x1b"
_TAIL_MS = 50  # longest wait for the rest of a sequence
_C_CC = 6
_FINAL = range(0x40, 0x7F)  # the last byte of a control sequence


def restorer(fd: int) -> Callable[[], None]:
    """Return what gives the terminal the modes that it has now, without waiting for output.

    A terminal that is gone by then is no error.
    """
    before = termios.tcgetattr(fd)

    def restore() -> None:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)

    return restore


@contextmanager
def raw_keys(fd: int) -> Iterator[None]:
    """Switch the terminal to single keys without echo; restore it afterwards."""
    restore = restorer(fd)
    tty.setcbreak(fd)
    now = termios.tcgetattr(fd)
    # Stopped by ctrl-Z, the screen would stay without updates; ctrl-\ would leave it as it is.
    for key in (termios.VSUSP, termios.VQUIT):
        now[_C_CC][key] = b"\0"
    termios.tcsetattr(fd, termios.TCSANOW, now)
    try:
        yield
    finally:
        restore()


def read_keys(fd: int) -> list[str] | None:
    """Return the pressed keys, None when the terminal is gone."""
    try:
        data = os.read(fd, 1024)
        while _is_cut(data) and select.select([fd], [], [], _TAIL_MS / 1000)[0]:
            more = os.read(fd, 1024)
            if not more:
                break
            data += more
    except OSError:
        return None
    return names(data) if data else None


def names(data: bytes) -> list[str]:
    """Return the keys in the bytes of a terminal, without unknown ones."""
    found = []
    while data:
        key, data = _first(data)
        if key:
            found.append(key)
    return found


def _first(data: bytes) -> tuple[str, bytes]:
    for sequence, name in _SEQUENCES.items():
        if data.startswith(sequence):
            return name, data[len(sequence) :]
    if data[:2] in (b"\x1b[", b"\x1bO"):  # some other function key
        end = next((i for i, byte in enumerate(data[2:], 2) if byte in _FINAL), len(data) - 1)
        return "", data[end + 1 :]
    first, rest = data[:1], data[1:]
    if first in _SINGLE:
        return _SINGLE[first], rest
    return (first.decode("ascii"), rest) if b" " <= first <= b"~" else ("", rest)


def _is_cut(data: bytes) -> bool:
    tail = data[data.rfind(_ESCAPE) :] if _ESCAPE in data else b""
    return bool(tail) and any(s.startswith(tail) and s != tail for s in _SEQUENCES)
