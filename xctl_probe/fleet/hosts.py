"""From when to when the streams have each host: one that is down writes no more records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from xctl_probe.fleet.rows import Host
from xctl_probe.recordings.lines import ts_of

_ORIGIN = re.compile(rb'"host":"([^"\\]{1,64})"(?:,"boot_id":"([^"\\]{0,64})")?')
_NONE = b"\0"  # in no line
_HEAD_BYTES = 32  # of a line, with its time
_MOST_HOSTS = 10_000  # of one file
_LATE_INTERVALS, _LATE_MS = 3, 1_000  # a busy host writes an interval late

Times = tuple[int, int]  # the first and the last (ms since the Unix epoch)


class Hosts:
    """The hosts of one file, with the times of their records; `interval_ms` is 0 where unknown.

    Members that are passed over name no host.  They are of the one before, or of an unknown one.
    """

    def __init__(self) -> None:
        self.times: dict[Host, Times] = {}
        self.unknown: Times | None = None
        self.interval_ms = 0
        self.is_known = True  # False where lines of another form have times that are not read
        self._last: Host | None = None
        self._mark = _NONE  # of it, in a line

    def add(self, lines: bytes, times: Times | None, stream: str) -> None:
        """Add the hosts of some lines; without one, they are of `stream`."""
        if times is None:
            self.is_known = False
            return
        if self._last is not None and lines.count(self._mark) == lines.count(b"\n"):
            self._add(self._last, times, self._mark)  # most files are of one host
            return
        found = set(_ORIGIN.findall(lines))
        if len(found) < 2:  # noqa: PLR2004
            one = found.pop() if found else None
            self._add(_host(*one) if one else Host(stream), times, _mark(*one) if one else _NONE)
            return
        for name, boot_id in found:
            mark = _mark(name, boot_id)
            some = [_time_at(lines, lines.find(mark)), _time_at(lines, lines.rfind(mark))]
            self._add(_host(name, boot_id), (min(some), max(some)), mark)

    def pass_over(self, first_ms: int, last_ms: int) -> None:
        """Add a member whose lines are not read."""
        if self._last is not None:
            self._add(self._last, (first_ms, last_ms), self._mark)
        else:
            self.unknown = _joined(self.unknown, (first_ms, last_ms))

    def _add(self, host: Host, times: Times, mark: bytes) -> None:
        if host in self.times or len(self.times) < _MOST_HOSTS:
            self.times[host] = _joined(self.times.get(host), times)
            self._last, self._mark = host, mark


def _mark(name: bytes, boot_id: bytes) -> bytes:
    mark = b'"host":"%b"' % name
    return mark + (b',"boot_id":"%b"' % boot_id if boot_id else b"")


def _host(name: bytes, boot_id: bytes) -> Host:
    return Host(name.decode("utf-8", "replace"), boot_id.decode("utf-8", "replace"))


def _time_at(lines: bytes, at: int) -> int:
    begin = lines.rfind(b"\n", 0, at) + 1
    return ts_of(lines[begin : begin + _HEAD_BYTES]) or 0


def _joined(before: Times | None, times: Times) -> Times:
    return times if before is None else (min(before[0], times[0]), max(before[1], times[1]))


class Covered:
    """When the stream of each host is over, of all files.

    Files that were given together, as those of one recording, are of the same hosts.
    """

    def __init__(self, files: Iterable[tuple[str, Hosts]]) -> None:
        """`files` are the hosts of each file, with what was given for it; in this order."""
        self._times: dict[Host, Times] = {}
        self._interval_ms: dict[Host, int] = {}
        for _, group in groupby(files, key=lambda one: one[0]):
            self._add([hosts for _, hosts in group])
        self._boots: dict[str, list[Host]] = {}
        for host in self._times:
            self._boots.setdefault(host.name, []).append(host)

    def _add(self, group: list[Hosts]) -> None:
        times: dict[Host, Times] = {}
        for one in group:
            for host, some in one.times.items():
                times[host] = _joined(times.get(host), some)
        interval_ms = max((one.interval_ms for one in group), default=0)
        is_known = interval_ms > 0 and all(one.is_known for one in group)
        unknown = [one.unknown for one in group if one.unknown]
        for host, some in times.items():
            for more in (some, *unknown):
                self._times[host] = _joined(self._times.get(host), more)
            longest_ms = max(interval_ms, self._interval_ms.get(host, interval_ms))
            if not is_known or self._interval_ms.get(host) == 0:
                longest_ms = 0
            self._interval_ms[host] = longest_ms

    def stopped(self, moment_ms: int, skew_ms: int) -> dict[Host, int]:
        """Return the last time of each host whose stream is over before the moment.

        Not of one whose stream need not have a record of each interval.
        """
        return {
            host: last_ms
            for host, (_, last_ms) in self._times.items()
            if (interval_ms := self._interval_ms[host])
            and last_ms + _LATE_INTERVALS * interval_ms + _LATE_MS + skew_ms < moment_ms
        }

    def begun_anew(self, moment_ms: int) -> Iterator[tuple[Host, Host]]:
        """Yield the hosts that were over before one of the same name began, each with that one.

        It is another boot of the same host, or another host.
        """
        for boots in self._boots.values():
            for host in boots:
                last_ms = self._times[host][1]
                for other in boots:
                    if last_ms < self._times[other][0] <= moment_ms:
                        yield host, other
