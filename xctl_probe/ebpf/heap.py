"""Memory that a flood took goes back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back_memory() -> None:
    """Return free pages in the middle of the heap, too: malloc_trim(3), which musl has not."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
