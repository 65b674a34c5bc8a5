"""What is kept of a file, within limits: what decides the moment comes before what fills memory."""

from __future__ import annotations

from collections.abc import Iterable

from xctl_probe.fleet.rows import Host, Row, host_of_row

MOST_OF_FILE = 100_000  # rows of each table
_LIVES = 4  # rows of one pid: begins and exits of its last processes

_Key = tuple[Host, int]  # with the pid


class Lives:
    """Begins and exits of processes: the last few of each pid, without those that are repeated.

    `left_out` counts rows beyond the limit: those of pids whose process exited first, if any did.
    """

    def __init__(self, most: int = MOST_OF_FILE) -> None:
        self.left_out = 0
        self._most = most
        self._rows: dict[_Key, list[Row]] = {}
        self._exited: dict[_Key, None] = {}  # in order

    def add(self, row: Row) -> None:
        """Add the row of a begin or an exit."""
        key: _Key = host_of_row(row), row["pid"]
        if key not in self._rows and not self._has_room():
            self.left_out += 1
            return
        rows = self._rows.setdefault(key, [])
        if rows and _is_repeated(rows[-1], row):  # as at the begin of each file of a recording
            rows[-1] = min(rows[-1], row, key=lambda one: one["ts_ms"])
            return
        rows.append(row)
        del rows[:-_LIVES]
        self._exited.pop(key, None)
        if row["value"] == "exit":
            self._exited[key] = None

    def _has_room(self) -> bool:
        if len(self._rows) < self._most:
            return True
        first = next(iter(self._exited), None)
        if first is None:
            return False
        del self._exited[first]
        self.left_out += len(self._rows.pop(first))
        return True

    def all(self) -> list[Row]:
        """Return the rows of each pid in turn."""
        return [row for rows in self._rows.values() for row in rows]

    def take(self) -> list[Row]:
        """Return the rows, and keep none."""
        found, self._rows, self._exited = self.all(), {}, {}
        return found


def _is_repeated(before: Row, row: Row) -> bool:
    return all(before[name] == row[name] for name in ("value", "comm", "job_id", "job_rank"))


class Stalls:
    """Stalls: of too many those whose records are closest to the moment."""

    def __init__(self, moment_ms: int, most: int = MOST_OF_FILE) -> None:
        self.left_out = 0
        self._moment_ms = moment_ms
        self._most = most
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add the row of a stall."""
        self._rows.append(row)
        if len(self._rows) >= 2 * self._most:
            self._cut()

    def _cut(self) -> None:
        self.left_out += max(len(self._rows) - self._most, 0)
        self._rows.sort(key=lambda row: abs(row["ts_ms"] - self._moment_ms))
        del self._rows[self._most :]

    def all(self) -> list[Row]:
        """Return the rows that are kept."""
        if len(self._rows) > self._most:
            self._cut()
        return self._rows


class Reports:
    """What processes have reported of their connections: of each the report that counts.

    That is the last one at or before the moment, else the first one after it.
    """

    def __init__(self, moment_ms: int, most: int = MOST_OF_FILE) -> None:
        self.left_out = 0
        self._moment_ms = moment_ms
        self._most = most
        self._count = 0
        self._reports: dict[_Key, _Report] = {}

    def add(self, process: Row, connections: Iterable[Row]) -> None:
        """Add a part of a report: its rows of both tables."""
        key = host_of_row(process), process["pid"]
        place = self._place(process["ts_ms"])
        report = self._reports.get(key)
        if report is None and len(self._reports) >= self._most:
            self.left_out += 1
            return
        if report is not None and place < report.place:
            return
        if report is None or place > report.place:
            self._count -= report.size if report else 0
            report = self._reports[key] = _Report(place, process)
        self._extend(report, connections)

    def _extend(self, report: _Report, connections: Iterable[Row]) -> None:
        found = list(connections)
        room = max(self._most - self._count, 0)
        report.connections += found[:room]
        self._count += len(found[:room])
        self.left_out += len(found[room:])

    def _place(self, ts_ms: int) -> int:
        return ts_ms if ts_ms <= self._moment_ms else -ts_ms

    def processes(self) -> list[Row]:
        """Return a row for each process."""
        return [one.process for one in self._reports.values()]

    def connections(self) -> list[Row]:
        """Return the rows of connections."""
        return [row for one in self._reports.values() for row in one.connections]


class _Report:
    def __init__(self, place: int, process: Row) -> None:
        self.place = place
        self.process = process
        self.connections: list[Row] = []

    @property
    def size(self) -> int:
        return len(self.connections)
