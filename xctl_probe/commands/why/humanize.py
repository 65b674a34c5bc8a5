"""Text of durations, sizes and counts."""

from __future__ import annotations

from collections.abc import Iterable

_MS_PER_S = 1_000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_STEP = 1_024
_INDENT_WIDTH = 12


def format_duration(ms: float) -> str:
    """Return `12.4 s`, `4 min 10 s`, `3 h 5 min`, `2 d 3 h`."""
    seconds = ms / _MS_PER_S
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    whole = int(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def format_bytes(count: float) -> str:
    """Return `23 bytes`, `64.0 KiB`, `3.2 MiB`."""
    if count < 10 * _STEP:
        return pluralize(int(count), "byte")
    for unit in ("KiB", "MiB"):
        count /= _STEP
        if count < _STEP:
            return f"{count:.1f} {unit}"
    return f"{count / _STEP:.1f} GiB"


def pluralize(count: int, what: str) -> str:
    """Return `1 retransmit`, `4 retransmits`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def processes(count: int) -> str:
    """Return `1 process`, `4 processes`."""
    return "1 process" if count == 1 else f"{count} processes"


def wrap(lines: Iterable[str], width: int) -> list[str]:
    """Fold long lines, at a space where there is one, with an indent."""
    found = []
    for line in lines:
        rest = line
        while len(rest) > width > 2 * _INDENT_WIDTH:
            cut = rest.rfind(" ", _INDENT_WIDTH + 1, width + 1)
            cut = cut if cut > 0 else width
            found.append(rest[:cut])
            rest = " " * _INDENT_WIDTH + rest[cut:].lstrip()
        found.append(rest)
    return found
