"""CPU and memory of the processes that use the network, from /proc/<pid>/stat.  proc(5)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.aggregate import Filter
from xctl_probe.events import DroppedEvents, Event, Process, ProcessLoad
from xctl_probe.fair import choose
from xctl_probe.linux import procfs
from xctl_probe.linux.tasks import reader_of
from xctl_probe.sources.job_processes import user_of

_MOST_KNOWN = 4_096
_MOST_READ = 256  # at a time, of all users
_IDLE_NS = 60_000_000_000  # without use of the network
# Clock ticks are a hundredth of a second: over less than a second, one is more than 1 %.
_LEAST_NS = 900_000_000  # an interval of a second may be a little shorter
_STAT_BYTES = 2_048
_UTIME, _STIME, _START, _RESIDENT = 11, 12, 19, 21  # fields 14, 15, 22, 24, from the state on
_ZOMBIE, _DEAD = "Z", "X"
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class _Known:
    owner: Process
    uid: int | None
    used_ns: int
    cpu_ns: int = 0
    read_ns: int | None = None  # None: not read yet


class ProcessLoads:
    """Reads one file of each process, once a second at most, of 256 processes at most.

    A process is among them from its first use of the network until a minute after the last.
    Where there are more, users share the places fairly, and the rest is counted.
    """

    def __init__(self, wanted: Filter, proc: Path = procfs.PROC) -> None:
        self._wanted = wanted
        self._proc = proc
        self._known: dict[tuple[int, int], _Known] = {}  # by pid and start
        self._memory_bytes = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
        self._begun_ns: int | None = None
        self._turn = 0

    def collect(self, events: Iterable[Event], now_ns: int) -> list[Event]:
        """Return the loads since the last reading; `events` are those of the interval."""
        left_out = self._note_users(events, now_ns)
        if self._begun_ns is not None and now_ns - self._begun_ns < _LEAST_NS:
            return []
        self._begun_ns = now_ns
        for key, known in list(self._known.items()):
            if now_ns - known.used_ns > _IDLE_NS:
                del self._known[key]
        found: list[Event] = []
        for key in self._chosen(left_out):
            load = self._load(self._known[key], now_ns)
            if load is None:
                del self._known[key]
            elif load.elapsed_ns:
                found.append(load)
        lost = (DroppedEvents("loads", count, uid) for uid, count in left_out.items() if count)
        return [*found, *lost]

    def _note_users(self, events: Iterable[Event], now_ns: int) -> dict[int | None, int]:
        """Note who used the network; return how many found no room, of whatever user."""
        refused = set()
        for event in events:
            owner = user_of(event, self._wanted)
            if owner is None:
                continue
            key = owner.pid, owner.start_ticks
            known = self._known.get(key)
            if known is not None:
                known.used_ns, known.owner = now_ns, owner
            elif len(self._known) < _MOST_KNOWN:
                uid = procfs.owner(f"{self._proc}/{owner.pid}")
                self._known[key] = _Known(owner, uid, now_ns)
            else:
                refused.add(key)
        return {None: len(refused)}

    def _chosen(self, left_out: dict[int | None, int]) -> Iterator[tuple[int, int]]:
        """Yield the processes to read, and count the others by user."""
        keys = list(self._known)
        if len(keys) <= _MOST_READ:
            yield from keys
            return
        self._turn += 1
        numbers: dict[int | None, dict[str, list[int]]] = {}
        for number, known in enumerate(self._known.values()):
            numbers.setdefault(known.uid, {}).setdefault("", []).append(number)
        kept, refused = choose(numbers, _MOST_READ, _MOST_READ, self._turn)
        for uid, count in refused.items():
            left_out[uid] = left_out.get(uid, 0) + count
        yield from (keys[number] for number in kept)

    def _load(self, known: _Known, now_ns: int) -> ProcessLoad | None:
        """Read a process; the first time, `elapsed_ns` is 0.  None where it is gone."""
        owner = known.owner
        stat = self._stat(owner.pid)
        if stat is None or int(stat.fields[_START]) != owner.start_ticks:
            return None  # another process has its pid
        shown = self._stat_of_living(owner.pid) if stat.state == _ZOMBIE else stat
        if shown is None or stat.state == _DEAD:
            return None
        cpu_ns = (int(stat.fields[_UTIME]) + int(stat.fields[_STIME])) * _NS_PER_TICK
        elapsed_ns = 0 if known.read_ns is None else now_ns - known.read_ns
        used_ns = max(cpu_ns - known.cpu_ns, 0)  # the kernel may correct it downwards
        known.cpu_ns, known.read_ns = cpu_ns, now_ns
        resident_bytes = int(shown.fields[_RESIDENT]) * _PAGE_BYTES
        return ProcessLoad(owner, used_ns, elapsed_ns, resident_bytes, self._memory_bytes)

    def _stat_of_living(self, pid: int) -> procfs.Stat | None:
        """Read a thread that shows the memory of a process whose first one has exited."""
        reader = reader_of(pid, self._proc)
        return self._stat(reader) if reader != pid else None

    def _stat(self, pid: int) -> procfs.Stat | None:
        """Read a process or thread, None where it is gone."""
        stat = procfs.parse_stat(procfs.read_once(f"{self._proc}/{pid}/stat", _STAT_BYTES))
        return stat if stat is not None and len(stat.fields) > _RESIDENT else None
