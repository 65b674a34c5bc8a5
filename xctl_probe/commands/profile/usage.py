"""What a process has used so far, from /proc: CPU, faults, bytes of files.  proc(5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from xctl_probe.linux import procfs

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Fields 10, 12, 14 and 15 of stat, from the state on.
_MINOR_FAULTS, _MAJOR_FAULTS, _UTIME, _STIME = 7, 9, 11, 12
_STAT_BYTES = 2_048


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over processes; times in ns.

    `queued_ns`: in which a thread was ready and waited for a CPU, as `Queues` has it.  `read_calls`
    and the like are None where `io` is not readable.
    """

    user_ns: int = 0
    system_ns: int = 0
    queued_ns: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    read_calls: int | None = None
    write_calls: int | None = None
    read_chars: int | None = None
    write_chars: int | None = None
    disk_read_bytes: int | None = None
    disk_write_bytes: int | None = None

    @property
    def cpu_ns(self) -> int:
        """Time on a CPU."""
        return self.user_ns + self.system_ns


class Queues:
    """How long threads were ready and waited for a CPU.

    The kernel counts it by thread, and the count of a thread goes with it; so the differences of
    each one are added up.
    """

    def __init__(self, proc: Path = procfs.PROC) -> None:
        self._proc = proc
        self._last: dict[int, dict[int, int]] = {}  # by process and thread
        self.queued_ns = 0

    def begin(self, pids: Iterable[int]) -> None:
        """Take the counts of these processes for the time before."""
        self._last = {pid: self._read(pid) for pid in pids}

    def add(self, pids: Iterable[int]) -> None:
        """Add what was counted since; what was not there then has begun since."""
        for pid in pids:
            last, now = self._last.get(pid, {}), self._read(pid)
            self.queued_ns += sum(_since(last.get(tid, 0), ns) for tid, ns in now.items())
            self._last[pid] = now

    def _read(self, pid: int) -> dict[int, int]:
        folder = f"{self._proc}/{pid}/task"
        try:
            tids = os.listdir(folder)
        except OSError:
            return {}
        return {int(tid): procfs.schedstat(f"{folder}/{tid}/schedstat").queued_ns for tid in tids}


def _since(last_ns: int, now_ns: int) -> int:
    """Return the difference; a count that is lower is that of another thread of this number."""
    return now_ns - last_ns if now_ns >= last_ns else now_ns


def read_usage(pid: int, proc: Path = procfs.PROC) -> Usage | None:
    """Return the use of one process since its start; None where it is gone."""
    stat = procfs.parse_stat(procfs.read_once(f"{proc}/{pid}/stat", _STAT_BYTES))
    if stat is None or len(stat.fields) <= _STIME:
        return None
    numbers = {index: int(stat.fields[index]) for index in (7, 9, 11, 12)}
    io = procfs.read(f"{proc}/{pid}/io")
    names = ("syscr", "syscw", "rchar", "wchar", "read_bytes", "write_bytes")
    values = [_number(procfs.status_field(io, name)) for name in names]
    return Usage(
        numbers[_UTIME] * _NS_PER_TICK,
        numbers[_STIME] * _NS_PER_TICK,
        0,
        numbers[_MINOR_FAULTS],
        numbers[_MAJOR_FAULTS],
        *values,
    )


def used_between(before: Iterable[Usage | None], after: Iterable[Usage | None]) -> Usage:
    """Return what processes used between two readings; what is None before has begun since."""
    total = Usage()
    for old, new in zip(before, after, strict=True):
        if new is not None:
            total = _add(total, _add(new, old or Usage(), sign=-1))
    return total


def _add(one: Usage, other: Usage, sign: int = 1) -> Usage:
    sums: dict[str, Any] = {}
    for field in fields(Usage):
        a, b = getattr(one, field.name), getattr(other, field.name)
        known = [value for value in (a, None if b is None else sign * b) if value is not None]
        sums[field.name] = sum(known) if known else None
    return Usage(**sums)


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None
