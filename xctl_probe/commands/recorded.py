"""What the commands that read a recording share: its time, its blind spots, and words."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.commands.why.humanize import format_duration, pluralize
from xctl_probe.config.checks import check_span
from xctl_probe.errors import UsageError
from xctl_probe.events import PeerActivity
from xctl_probe.recordings.directory import files, open_to_read
from xctl_probe.recordings.history import Coverage
from xctl_probe.recordings.reader import Recording

_MS_PER_S = 1_000
_DAY_S = 86_400
_MOST_MISSING = 3
# What a process was seen to do, after its name.
ACTIVITIES = {
    PeerActivity.FROZEN: "frozen with its cgroup",
    PeerActivity.STOPPED: "stopped",
    PeerActivity.WAITING: "waiting on the network itself",
    PeerActivity.DISK_SLEEP: "in an uninterruptible sleep",
    PeerActivity.RUNNING: "running",
    PeerActivity.ELSEWHERE: "in calls for something else",
    PeerActivity.UNREAD: "with unread data",
}


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a command is asked about, in ms since the Unix epoch."""

    since_ms: int
    now_ms: int

    def clock(self, ms: int) -> str:
        """Return the local time of day, with the date where the window is longer than a day."""
        days = self.now_ms - self.since_ms > _DAY_S * _MS_PER_S
        return clock_text(ms, "%Y-%m-%d %H:%M:%S" if days else "%H:%M:%S")


def clock_text(ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return the local time of ms since the Unix epoch, in a form of strftime(3)."""
    return time.strftime(form, time.localtime(ms / _MS_PER_S))


@contextmanager
def opened(directory: Path) -> Iterator[Recording]:
    """Yield the recording of a directory.

    Raises UsageError where it has no file of one, or belongs to another user.
    """
    fd = open_to_read(directory)
    try:
        is_recording = bool(files(fd))
    finally:
        os.close(fd)
    if not is_recording:
        raise UsageError(
            f"recording {directory}: no file records-* is there; name a directory that --record "
            "has filled"
        )
    with closing(Recording(directory)) as recording:
        yield recording


@contextmanager
def recording_since(
    command: str, since: str, record: Path | None
) -> Iterator[tuple[Recording, Window]]:
    """Yield the recording and the window up to now.

    Raises UsageError for an invalid time, and where there is no recording to read.
    """
    span_ms = check_span(since, "since")
    if record is None:
        raise UsageError(
            f"{command} --since {since}: no recording is named; put --record DIR before the "
            "command, or set XCTL_NETWORK_RECORD"
        )
    now_ms = time.time_ns() // 1_000_000
    with opened(record) as recording:
        yield recording, Window(now_ms - span_ms, now_ms)


def nothing_recorded(command: str, since: str | None, directory: Path) -> UsageError:
    """Return the error of a recording without an interval of the time that was asked about."""
    if since is None:
        return UsageError(f"{command}: nothing is recorded in {directory}")
    return UsageError(
        f"{command} --since {since}: nothing is recorded in {directory} of this time; "
        "give a longer one"
    )


def notes(recording: Recording, coverage: Coverage, window: Window) -> list[str]:
    """Return what the recording does not have of the window, one line each."""
    if coverage.begun_ms is None or coverage.last_ms is None:
        return ["nothing is recorded of this time"]
    found = []
    late_ms = 2 * coverage.longest_ms + _MS_PER_S
    if not coverage.longest_ms:
        found.append("intervals without records leave no trace in it: record bandwidth as well")
    elif coverage.begun_ms > window.since_ms + late_ms:
        found.append(f"the recording begins at {window.clock(coverage.begun_ms)}")
    if coverage.longest_ms and coverage.last_ms < window.now_ms - late_ms:
        found.append(f"the recording stops at {window.clock(coverage.last_ms)}")
    for start_ms, stop_ms in coverage.missing[-_MOST_MISSING:]:
        found.append(
            f"nothing is recorded from {window.clock(start_ms)} on for "
            f"{format_duration(stop_ms - start_ms)}"
        )
    if len(coverage.missing) > _MOST_MISSING:
        found.append(f"nothing is recorded of {len(coverage.missing) - _MOST_MISSING} more times")
    if coverage.dropped:
        reasons = ", ".join(f"{where} {count}" for where, count in coverage.dropped.items())
        found.append(f"the probe dropped events, which may have been of this process: {reasons}")
    if recording.damaged:
        found.append(f"{pluralize(recording.damaged, 'part')} of the recording could not be read")
    return found
