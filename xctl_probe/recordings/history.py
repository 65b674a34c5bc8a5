"""What a recording has of the stalls of a time, and what it does not cover."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from xctl_probe.events import DroppedEvents, Stall
from xctl_probe.exporters.records import ErrorRecord, Record, StallRecord
from xctl_probe.exporters.same_stall import NS_PER_MS, StallKey, is_another, pid_of, stall_key
from xctl_probe.recordings.reader import Interval

_LATE_MS = (
    1_000  # an interval that begins this much after the last one: nothing is recorded between
)
_LENGTH = re.compile(rb'"interval_ms":([0-9]{1,15})')
_BANDWIDTH, _OF_INTERFACE = b'"event_type":"transport.bw"', b'"pid":null'
_DROPPED = b'"value":"PROBE_LOST:'


@dataclass(frozen=True, slots=True)
class RecordedStall:
    """A stall, as its last record has it; times are ms since the Unix epoch.

    `seen_ms` is the time of that record.  The stall is over where `stall.ongoing` is False; one
    that was never seen ongoing may have begun up to an interval before `begun_ms`.
    """

    stall: Stall
    begun_ms: int
    seen_ms: int

    @property
    def until_ms(self) -> int:
        """When it was over, or was last seen."""
        return self.begun_ms + self.stall.duration_ns // NS_PER_MS


class Stalls:
    """Joins the records of each stall, from interval to interval."""

    def __init__(self) -> None:
        self._open: dict[StallKey, RecordedStall] = {}
        self._closed: list[RecordedStall] = []

    def add(self, records: Iterable[Record]) -> None:
        """Add the stalls among the records of one interval."""
        for record in records:
            if isinstance(record, StallRecord):
                self._add(record.ts_ms, record.stall)

    def _add(self, ts_ms: int, stall: Stall) -> None:
        key = stall_key(stall)
        begun_ms = ts_ms - stall.duration_ns // NS_PER_MS
        before = self._open.pop(key, None)
        if before is not None and is_another(
            before.seen_ms, before.stall.duration_ns, pid_of(before.stall), stall, ts_ms
        ):
            self._closed.append(before)
        elif before is not None:
            begun_ms = before.begun_ms
            stall = _completed(stall, before.stall)
        found = RecordedStall(stall, begun_ms, ts_ms)
        if stall.ongoing:
            self._open[key] = found
        else:
            self._closed.append(found)

    def all(self) -> list[RecordedStall]:
        """Return the stalls by their begin."""
        found = [*self._closed, *self._open.values()]
        return sorted(found, key=lambda one: (one.begun_ms, one.seen_ms))


def _completed(stall: Stall, before: Stall) -> Stall:
    """Return the stall with what only an earlier record has of its process and its peer."""
    return replace(
        stall,
        owner=stall.owner or before.owner,
        peer=stall.peer or before.peer,
        peer_activity=stall.peer_activity or before.peer_activity,
    )


class Coverage:
    """From when to when a recording has intervals, where some are missing, and what was dropped.

    `begun_ms` and `last_ms` are None without an interval; `missing` are times without records.
    `longest_ms` is the length of the longest interval.
    """

    def __init__(self) -> None:
        self.begun_ms: int | None = None
        self.last_ms: int | None = None
        self.longest_ms = 0
        self.missing: list[tuple[int, int]] = []
        self.dropped: dict[str, int] = {}

    def add(self, interval: Interval) -> None:
        """Add an interval."""
        length_ms = _length_ms(interval)
        begun_ms = interval.ts_ms - (length_ms or 0)
        self.longest_ms = max(self.longest_ms, length_ms or 0)
        if self.last_ms is None:
            self.begun_ms = begun_ms
        elif length_ms is not None and begun_ms - self.last_ms >= _LATE_MS:
            self.missing.append((self.last_ms, begun_ms))
        self.last_ms = interval.ts_ms
        for record in interval.records(lambda line: _DROPPED in line):
            if isinstance(record, ErrorRecord) and isinstance(record.error, DroppedEvents):
                where = record.error.where
                self.dropped[where] = self.dropped.get(where, 0) + record.error.count


def _length_ms(interval: Interval) -> int | None:
    """Return the length of an interval, by the record of an interface; None without one."""
    for line in interval.lines:
        if _BANDWIDTH in line and _OF_INTERFACE in line and (found := _LENGTH.search(line)):
            return int(found[1])
    return None
