"""When a process that was searched for in vain is searched for again.

It cannot be read while it is in execve(2), nor for a while after it has held a reader up; and a
socket may be in transit between two processes.
"""

from __future__ import annotations

_FIRST = 8


def is_due(asked: int) -> bool:
    """True for the 8th, 16th, 32nd ... question about it since the search."""
    return asked >= _FIRST and asked.bit_count() == 1
