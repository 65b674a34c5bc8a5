"""The sources that the same tests run against, and what each of them can see.

Natively the tests run against `proc` and `ebpf` (the variant that this kernel carries), unless
XCTL_TEST_BACKENDS names only one of them; in a guest, against each variant in turn.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xctl_probe.sources.blind_spots import BLIND_SPOTS

if TYPE_CHECKING:
    from support.consumer_model import Consumer
    from support.namespace import Namespace

IN_GUEST = bool(os.environ.get("XCTL_IN_GUEST"))
# Under emulation, and beside other work, everything is late: by so much may the length of an ended
# stall be off.
LATE_IN_GUEST_MS = 400
ACTIVE = os.environ.get("XCTL_TEST_BACKENDS", "proc,ebpf").split(",")
_BLIND_SPOTS = {spot.key for spots in BLIND_SPOTS.values() for spot in spots}


@dataclass(frozen=True)
class Backend:
    """How to start the probe for a source, and how exact its records have to be.

    `source` is its column in the table of blind spots.  `bytes_tolerance` is a share of the
    bytes; `stall_tolerance_ms` goes on top of what `per_interval` adds: whether the length of
    a stall is only right to the interval.  `start_s` is how long a start may take.
    """

    name: str
    source: str
    user: str
    options: tuple[str, ...]
    bytes_tolerance: float
    stall_tolerance_ms: int
    per_interval: bool
    start_s: int = 15

    def sees(self, blind_spot: str) -> bool:
        """Whether this is no declared blind spot of the source."""
        assert blind_spot in _BLIND_SPOTS, f"{blind_spot!r} is in no list of blind spots"
        return blind_spot not in {spot.key for spot in BLIND_SPOTS[self.source]}

    def as_started(self, output: str) -> Backend:
        """The same with the variant that the probe chose, by its line at start."""
        found = re.search(r"source ebpf \((\w+):", output)
        return replace(self, source=f"ebpf {found[1]}") if found else self

    @property
    def all_bandwidth(self) -> tuple[str, ...]:
        """Options to see each byte: where counts are exact, the last few of a transfer matter,
        and would stay below the bandwidth from which a process is reported.
        """
        return () if self.bytes_tolerance else ("--min-bw", "0")

    def tolerance_ms(self, interval_s: float) -> float:
        """By how much the length of an ended stall may be off."""
        return self.stall_tolerance_ms + (interval_s * 1000 if self.per_interval else 0)

    def late_ms(self, consumer: Consumer) -> float:
        """The same by the longest interval of this run: on a busy host a sample may be late."""
        longest_ms = max(r.net["interval_ms"] for r in consumer.interface_bandwidth())
        return self.tolerance_ms(longest_ms / 1000)

    def retransmits(self, tried: int, netns: Namespace) -> int:
        """How many it reports where the sockets of a namespace count so many.

        They count attempts, some of which fail on a busy host; only the sampler passes that on.
        """
        failed = netns.kernel_counter("netstat", "TCPRetransFail")
        return tried if self.per_interval else tried - failed


# 15 ms: the kernel accounts in jiffies, and the machine's other work delays a sample.
PROC = Backend(
    "proc",
    source="sampler sock_diag",
    user="unprivileged",
    options=("--backend", "proc"),
    bytes_tolerance=0.01,
    stall_tolerance_ms=15,
    per_interval=True,
)
PROC_NET = Backend(
    "proc_net",
    source="sampler /proc/net",
    user="unprivileged",
    options=("--backend", "proc", "--no-sock-diag"),
    bytes_tolerance=0.01,
    stall_tolerance_ms=50,
    per_interval=True,
)


# Its variant is what `as_started` finds chosen.  A stall may begin and end at ticks, each of
# 4 ms, and on a busy virtual machine a tick may be late: see decision 0005.
EBPF = Backend(
    "ebpf",
    source="ebpf tracepoint",
    user="root",
    options=("--backend", "ebpf"),
    bytes_tolerance=0.0,
    stall_tolerance_ms=12,
    per_interval=False,
)
KNOWN = (PROC, EBPF)
SELECTED = tuple(backend for backend in KNOWN if backend.name in ACTIVE)
