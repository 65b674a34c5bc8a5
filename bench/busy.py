"""How busy the machine is with other things: ratios measured then are ratios of noise."""

from __future__ import annotations

import time
from pathlib import Path

TOO_BUSY = 0.1  # of all cores


def busy_share(seconds: float = 1.0) -> float:
    """The share of all cores' time that is not idle over the next `seconds`.  proc(5): stat."""
    busy_before, all_before = _times()
    time.sleep(seconds)
    busy, all_ = _times()
    return (busy - busy_before) / max(all_ - all_before, 1)


def _times() -> tuple[int, int]:
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)
