"""The sources that the same tests run against, and what each of them can see.

To run the tests against another one, add its name to ACTIVE (or set XCTL_TEST_BACKENDS).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

ACTIVE = os.environ.get("XCTL_TEST_BACKENDS", "proc").split(",")


@dataclass(frozen=True)
class Backend:
    """How to start the probe for a source, and how exact its records have to be.

    `bytes_tolerance` is a share of the bytes; `stall_tolerance_ms` goes on top of what
    `per_interval` says: whether the length of a stall is only right to the interval.
    `owns_brief` tells whether a socket that lived between two samples has an owner.
    """

    name: str
    user: str
    options: tuple[str, ...]
    bytes_tolerance: float
    stall_tolerance_ms: int
    per_interval: bool
    owns_brief: bool

    def tolerance_ms(self, interval_s: float) -> float:
        """By how much the length of an ended stall may be off."""
        return self.stall_tolerance_ms + (interval_s * 1000 if self.per_interval else 0)


KNOWN = (
    # 15 ms: the kernel accounts in jiffies, and the machine's other work delays a sample.
    Backend("proc", "unprivileged", ("--backend", "proc"), 0.01, 15, True, False),
    Backend("ebpf", "root", ("--backend", "ebpf"), 0.0, 5, False, True),
)
SELECTED = tuple(backend for backend in KNOWN if backend.name in ACTIVE)
