"""The sources that the same tests run against, and what each of them can see.

Each is run unless XCTL_TEST_BACKENDS names only some of them (`proc`, `ebpf`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

ACTIVE = os.environ.get("XCTL_TEST_BACKENDS", "proc,ebpf").split(",")


@dataclass(frozen=True)
class Backend:
    """How to start the probe for a source, and how exact its records have to be.

    `bytes_tolerance` is a share of the bytes; `stall_tolerance_ms` goes on top of what
    `per_interval` says: whether the length of a stall is only right to the interval.
    `sees_host`: it tells of every network namespace, not only of the probe's own.
    `owns_brief`: a socket that lived between two samples has an owner.
    `knows_the_user`: of several processes that hold a socket, the one that uses it.
    `counts_udp` and `sees_errors` (of connects, and resets): what only the kernel can tell.
    """

    name: str
    user: str
    options: tuple[str, ...]
    bytes_tolerance: float
    stall_tolerance_ms: int
    per_interval: bool
    sees_host: bool
    owns_brief: bool
    knows_the_user: bool
    counts_udp: bool
    sees_errors: bool

    @property
    def all_bandwidth(self) -> tuple[str, ...]:
        """Options to see each byte: where counts are exact, the last few of a transfer matter,
        and would stay below the bandwidth from which a process is told of.
        """
        return () if self.bytes_tolerance else ("--min-bw", "0")

    def tolerance_ms(self, interval_s: float) -> float:
        """By how much the length of an ended stall may be off."""
        return self.stall_tolerance_ms + (interval_s * 1000 if self.per_interval else 0)


KNOWN = (
    # 15 ms: the kernel accounts in jiffies, and the machine's other work delays a sample.
    Backend(
        "proc",
        user="unprivileged",
        options=("--backend", "proc"),
        bytes_tolerance=0.01,
        stall_tolerance_ms=15,
        per_interval=True,
        sees_host=False,
        owns_brief=False,
        knows_the_user=False,
        counts_udp=False,
        sees_errors=False,
    ),
    Backend(
        "ebpf",
        user="root",
        options=("--backend", "ebpf"),
        bytes_tolerance=0.0,
        stall_tolerance_ms=5,
        per_interval=False,
        sees_host=True,
        owns_brief=True,
        knows_the_user=True,
        counts_udp=True,
        sees_errors=True,
    ),
)
SELECTED = tuple(backend for backend in KNOWN if backend.name in ACTIVE)
