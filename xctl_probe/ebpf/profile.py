"""The system calls of one process, counted in the kernel.  bpf/profile.bpf.c."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum, IntFlag
from typing import NamedTuple, Self

from xctl_probe.ebpf.abi import LostWhere
from xctl_probe.ebpf.loader import load_profile

NUMBERS = 1_024
BUCKETS = 32
FIRST_BUCKET_SHIFT = 8

SETTINGS = struct.Struct(f"=II{NUMBERS}s")
CALL_KEY = struct.Struct("=II")
CALL_STATS = struct.Struct(f"=6Q{BUCKETS}Q")
FAILURE_KEY = struct.Struct("=II")
IN_FLIGHT = struct.Struct("=QQII")


class CallFlag(IntFlag):
    """enum call_flag."""

    HAS_FD = 1
    RETURNS_BYTES = 2
    LEAVES = 4


class Descriptor(IntEnum):
    """enum descriptor_kind."""

    NONE = 0
    INTERNET = 1
    LOCAL = 2


class Calls(NamedTuple):
    """struct call_key and struct call_stats: the calls of one number on one kind of descriptor.

    Times are in ns.  `sleeps`, `sleep_ns`: those in which the thread waited.  `buckets`: the first
    counts calls below 2^8 ns, each next one is twice as wide.
    """

    number: int
    kind: Descriptor
    times: int
    failures: int
    total_ns: int
    sleeps: int
    sleep_ns: int
    bytes: int
    buckets: tuple[int, ...]


class InFlight(NamedTuple):
    """A call that has not returned; `begin_ns` is CLOCK_MONOTONIC."""

    number: int
    kind: Descriptor
    begin_ns: int


class KernelProfile:
    """Counts the calls of a process until it is closed.  Needs CAP_BPF and CAP_PERFMON.

    `pid` is as this process's pid namespace numbers it; `flags` has what is known of the calls, by
    number.  Raises SourceUnavailable.
    """

    def __init__(
        self,
        pid: int,
        flags: Mapping[int, CallFlag],
        *,
        children: bool = False,
        log: Callable[[str], None] | None = None,
    ) -> None:
        by_number = bytes(flags.get(number, 0) for number in range(NUMBERS))
        settings = SETTINGS.pack(pid, children, by_number)
        self._programs = load_profile(settings, log, children=children)
        self.begin_ns = time.monotonic_ns()

    def calls(self) -> Iterator[Calls]:
        """Yield what has returned since the begin."""
        for key, value in self._programs.map("calls", CALL_KEY.size, CALL_STATS.size).items():
            number, kind = CALL_KEY.unpack(key)
            times, failures, total_ns, sleeps, sleep_ns, moved, *buckets = CALL_STATS.unpack(value)
            yield Calls(
                number, Descriptor(kind), times, failures, total_ns, sleeps, sleep_ns, moved,
                tuple(buckets),
            )  # fmt: skip

    def failures(self) -> dict[tuple[int, int], int]:
        """Return how often a call failed, by its number and errno."""
        table = self._programs.map("failures", FAILURE_KEY.size, 8)
        return {
            FAILURE_KEY.unpack(key): int.from_bytes(value, "little") for key, value in table.items()
        }

    def in_flight(self) -> dict[int, InFlight]:
        """Return the calls that have not returned, by thread as the first namespace numbers it."""
        found = {}
        for key, value in self._programs.map("in_flight", 4, IN_FLIGHT.size).items():
            begin_ns, _, number, kind = IN_FLIGHT.unpack(value)
            call = InFlight(number, Descriptor(kind), begin_ns)
            found[int.from_bytes(key, "little")] = call
        return found

    def lost(self) -> int:
        """Return how often a map had no room for a call or a child."""
        return sum(self._programs.per_cpu_sums("lost", len(LostWhere)))

    def close(self) -> None:
        """Detach.  Safe to call twice."""
        self._programs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
