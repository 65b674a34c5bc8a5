"""What the stream knows of itself: counted at each interval, answered when somebody asks."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xctl_probe.events import DroppedEvents, Source
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import ErrorRecord, Record, StallRecord, is_probable
from xctl_probe.figures import RecordFigures
from xctl_probe.linux import procfs
from xctl_probe.linux.systemd import Notifier
from xctl_probe.status.document import ProcessFigures, Status, to_json
from xctl_probe.status.intervals import Intervals, ago_ms

if TYPE_CHECKING:
    from xctl_probe.exporters.stdout import Writer

_NS_PER_MS = 1_000_000
_STALLS_A_PIECE = 64
_PAGE_BYTES = resource.getpagesize()


def _cpu_s() -> float:
    """Return the CPU time of this process and of its children that have exited."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@dataclass(slots=True)
class Monitor:
    """The figures of one run of the stream, and its messages to the service manager.

    `choice` is the text of the start line.
    """

    source: Source
    choice: str
    writer: Writer
    intervals: Intervals
    notifier: Notifier
    _began_ns: int = field(default_factory=time.monotonic_ns)
    _began_cpu_s: float = field(default_factory=_cpu_s)
    _began_ms: int = field(default_factory=lambda: time.time_ns() // _NS_PER_MS)
    # Ongoing, of the last interval, also those that are only probable.
    _stalls: list[StallRecord] = field(default_factory=list)
    _lost: Counter[str] = field(default_factory=Counter)
    _lost_ns: int | None = None

    def seen(self, records: Iterable[Record], now_ns: int) -> Iterator[Record]:
        """Yield the records of one interval, and note what is about the probe."""
        stalls: list[StallRecord] = []
        for record in records:
            if isinstance(record, StallRecord):
                if record.stall.ongoing:
                    stalls.append(record)
            elif isinstance(record, ErrorRecord) and isinstance(record.error, DroppedEvents):
                self._lost[record.error.where] += record.error.count
                self._lost_ns = now_ns
            yield record
        self._stalls = stalls
        if self.notifier.listens:
            self.notifier.interval(now_ns, self._state())

    def ready(self) -> None:
        """Notify the service manager that the programs are attached."""
        self.notifier.ready(self._state())

    def status(self) -> Generator[None, None, bytes]:
        """Make the document of the request `status`."""
        figures = yield from self.source.figures()
        process = self._process()
        yield
        now_ns = time.monotonic_ns()
        records, host = self.writer.figures(now_ns), os.uname()
        status = Status(
            pid=os.getpid(),
            uid=os.geteuid(),
            source=self.source.name,
            choice=self.choice,
            kernel=f"{host.release} {host.machine}",
            started_ms=self._began_ms,
            uptime_ms=(now_ns - self._began_ns) // _NS_PER_MS,
            intervals=self.intervals.figures(now_ns),
            records=records,
            stalls=sum(not is_probable(record) for record in self._stalls),
            process=process,
            figures=figures,
            lost=self._all_lost(records),
            lost_ago_ms=ago_ms(self._lost_ns, now_ns),
        )
        yield
        return to_json(status)

    def stalls(self) -> Generator[None, None, bytes]:
        """Make the document of the request `stalls`: the records of the ongoing ones.

        Those that are only probable are among them, whether the stream has them or not.
        """
        records = self._stalls
        lines: list[bytes] = []
        for start in range(0, len(records), _STALLS_A_PIECE):
            lines += (to_line(r).rstrip() for r in records[start : start + _STALLS_A_PIECE])
            yield
        head = b'{"pid":%d,"interval_ms":%d,"stalls":[' % (
            os.getpid(), self.intervals.figures(time.monotonic_ns()).interval_ms,
        )  # fmt: skip
        return head + b",".join(lines) + b"]}\n"

    def close(self) -> None:
        """Notify the service manager of the end.  Safe to call twice."""
        self.notifier.stopping()
        self.notifier.close()

    def _process(self) -> ProcessFigures:
        cpu_s = _cpu_s()
        elapsed_s = (time.monotonic_ns() - self._began_ns) / 1e9
        pages = procfs.read("/proc/self/statm").split()
        return ProcessFigures(
            cpu_ms=int(cpu_s * 1000),
            cpu_percent=round((cpu_s - self._began_cpu_s) / max(elapsed_s, 1e-3) * 100, 2),
            resident_bytes=int(pages[1]) * _PAGE_BYTES if len(pages) > 1 else 0,
            most_resident_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            threads=_count("/proc/self/task"),
            descriptors=_count("/proc/self/fd"),
        )

    def _state(self) -> str:
        """Return one line for `systemctl status`."""
        attach = getattr(self.source, "attach", None)
        source = f"{self.source.name} {attach}" if attach else self.source.name
        lost = sum(self._lost.values())
        return f"source {source}; " + (f"{lost} events dropped" if lost else "nothing dropped")

    def _all_lost(self, records: RecordFigures) -> dict[str, int]:
        """Return dropped events by place; those of stdout are not in the records yet."""
        lost = dict(self._lost)
        if records.dropped:
            lost["stdout"] = records.dropped
        return lost


def _count(directory: str) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0
