"""What a running program costs: CPU and memory of its processes, and its part of the kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_MIB = 1024.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and its children, so far."""

    cpu_ns: int
    resident_mib: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class InKernel:
    """Of the BPF programs and maps whose descriptors a process and its children hold.

    Runs of iterators do not count: the process itself makes them, and its CPU has them.
    """

    run_ns: int
    runs: int
    memory_kib: float


def family(pid: int) -> list[int]:
    """The process and its descendants, as far as they are alive."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def usage(pid: int) -> Usage:
    """CPU to the nanosecond (schedstat: user and system), resident memory and its peak.

    What a helper shares with the process that it was forked from counts once (Pss); the peak is
    that of the first process, and what the others have now.
    """
    cpu_ns, resident, peak = 0, 0.0, 0.0
    for member in family(pid):
        try:
            for thread in Path(f"/proc/{member}/task").iterdir():
                cpu_ns += int((thread / "schedstat").read_text().split()[0])
            own_mib = _kib(Path(f"/proc/{member}/smaps_rollup").read_text(), "Pss:") / _MIB
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        resident += own_mib
        peak += _kib(status, "VmHWM:") / _MIB if member == pid else own_mib
    return Usage(cpu_ns, resident, peak)


def in_kernel(pid: int) -> InKernel:
    """From fdinfo: run time needs kernel.bpf_stats_enabled.  Zero where nothing may be read.

    `memory_kib` is what the kernel accounts to maps; the storage of sockets is not part of it.
    """
    programs: dict[str, tuple[int, int]] = {}
    iterators: set[str] = set()
    maps: dict[str, int] = {}
    for member in family(pid):
        for fields in _descriptors(member):
            if "run_cnt" in fields:  # a link names its program, too
                programs[fields["prog_id"]] = (
                    int(fields.get("run_time_ns", 0)),
                    int(fields.get("run_cnt", 0)),
                )
            elif fields.get("link_type") == "iter":
                iterators.add(fields["prog_id"])
            elif "map_id" in fields and "memlock" in fields:
                maps[fields["map_id"]] = int(fields["memlock"])
    return InKernel(
        sum(ns for name, (ns, _) in programs.items() if name not in iterators),
        sum(runs for name, (_, runs) in programs.items() if name not in iterators),
        sum(maps.values()) / 1024,
    )


def _descriptors(pid: int) -> list[dict[str, str]]:
    found = []
    try:
        names = os.listdir(f"/proc/{pid}/fdinfo")
    except OSError:
        return []
    for name in names:
        try:
            lines = Path(f"/proc/{pid}/fdinfo/{name}").read_text().splitlines()
        except OSError:
            continue
        found.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))
    return found


def _kib(status: str, name: str) -> int:
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(name)), 0)
