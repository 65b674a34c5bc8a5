"""Return of free memory to the system after a flood."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back_memory() -> None:
    """Return free pages of the heap to the system: malloc_trim(3), which musl lacks."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
