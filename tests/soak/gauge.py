"""What a running process takes: memory, descriptors, threads, processor time."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from dataclasses import dataclass

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """At one moment; `cpu_s` since the process began."""

    at_s: float
    resident_bytes: int
    descriptors: tuple[str, ...]  # what each is, without numbers
    threads: int
    cpu_s: float


def read(pid: int) -> Reading:
    """Raises OSError where the process is gone."""
    with open(f"/proc/{pid}/statm") as statm:
        resident = int(statm.read().split()[1]) * _PAGE
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) * _TICK_S
    return Reading(time.monotonic(), resident, _descriptors(pid), int(fields[17]), cpu_s)


def _descriptors(pid: int) -> tuple[str, ...]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(re.sub("[0-9]+", "", os.readlink(f"/proc/{pid}/fd/{fd}")))
        except OSError:  # closed meanwhile
            found.append("closed")
    return tuple(sorted(found))


class Gauge:
    """Reads a process every so often, until closed."""

    def __init__(self, pid: int, every_s: float = 1.0) -> None:
        self._pid, self._every_s = pid, every_s
        self.readings = [read(pid)]
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def mark(self) -> int:
        """Where in the readings we are now."""
        self.readings.append(read(self._pid))
        return len(self.readings) - 1

    def cpu_share(self, since: int = 0) -> float:
        """Of one core."""
        first, last = self.readings[since], self.readings[-1]
        return (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)

    def peak_mib(self) -> float:
        return max(r.resident_bytes for r in self.readings) / (1 << 20)

    def growth_mib(self, since: int = 0) -> float:
        """Between the second and the last quarter, by their medians: the first is warm-up."""
        sizes = [r.resident_bytes for r in self.readings[since:]]
        quarter = max(len(sizes) // 4, 1)
        second, last = sizes[quarter : 2 * quarter] or sizes, sizes[-quarter:]
        return (statistics.median(last) - statistics.median(second)) / (1 << 20)

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self.readings.append(read(self._pid))
            except OSError:
                return
