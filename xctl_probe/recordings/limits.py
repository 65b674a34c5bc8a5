"""How much a recording keeps: a span of time and a number of bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

SPAN = "60m"  # of a recording
SIZE_MIB = 64
MOST_MIB = 65_536
_LONGEST_DAYS = 365
_FORM = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def span_ms(text: str) -> int:
    """Return the ms of `90s`, `10m`, `2h` or `1d`.  Raises ValueError, also above a year."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(text)
    span = int(found[1]) * _UNITS_MS[found[2]]
    if span > _LONGEST_DAYS * _UNITS_MS["d"]:
        raise ValueError(text)
    return span


@dataclass(frozen=True, slots=True)
class Limits:
    """Records older than `span_ms` are removed, and the files never exceed `size_bytes`."""

    span_ms: int = span_ms(SPAN)
    size_bytes: int = SIZE_MIB << 20
