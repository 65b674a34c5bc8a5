"""`top --replay`: the intervals of a recording, one after another, on the screen or as frames."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.live import Live

from xctl_probe.aggregate import Filter
from xctl_probe.commands.recorded import clock_text, nothing_recorded, opened
from xctl_probe.commands.top.command import check_terminal, show, terminal
from xctl_probe.commands.top.keys import read_keys
from xctl_probe.commands.top.model import KEEP_NS, Model, View
from xctl_probe.commands.top.screen import draw
from xctl_probe.commands.top.ui import Mode, Ui, on_key, shown
from xctl_probe.config.checks import check_span
from xctl_probe.config.settings import Settings
from xctl_probe.events import SocketError
from xctl_probe.exporters.records import (
    BandwidthRecord,
    ErrorRecord,
    InterfaceErrors,
    Record,
    StallRecord,
)
from xctl_probe.exporters.stdout import write_answer
from xctl_probe.recordings.reader import Recording

_STDIN = 0
_NS_PER_MS = 1_000_000
_WIDTH, _HEIGHT = 100, 30  # of a frame
_STEP = "."  # as in a player of videos: one frame on

Frame = tuple[int, View]  # the time of an interval (ms, Unix epoch), and what the screen has then


def run(settings: Settings, stdout: int, directory: Path, since: str | None) -> None:
    """Show the recording from `since` on, or all of it, one interval each `--interval`.

    Raises UsageError where there is nothing to show.
    """
    since_ms = 0
    if since is not None:
        since_ms = time.time_ns() // _NS_PER_MS - check_span(since, "since")
    with opened(directory) as recording:
        # What ended shortly before is on the screen, too.
        intervals = _frames(recording, since_ms, settings.wanted)
        first = next(intervals, None)
        if first is None:
            raise nothing_recorded("top", since, directory)
        if not (os.isatty(_STDIN) and os.isatty(stdout)):
            _print(first, intervals, stdout)
            return
        check_terminal()
        with terminal() as (live, signals):
            _Player(live, signals, f"recording {directory}", settings.interval_ns).run(
                first, intervals
            )


def _frames(recording: Recording, since_ms: int, wanted: Filter) -> Iterator[Frame]:
    """Yield a frame for each interval."""
    model = Model()
    for interval in recording.intervals(max(since_ms - KEEP_NS // _NS_PER_MS, 0)):
        now_ns = interval.ts_ms * _NS_PER_MS
        model.add((one for one in interval.records() if _is_wanted(one, wanted)), now_ns)
        if interval.ts_ms >= since_ms:
            yield interval.ts_ms, model.view(now_ns)


def _is_wanted(record: Record, wanted: Filter) -> bool:
    """Apply --pid and --interface, as the stream does.  What was recorded of loopback is shown."""
    match record:
        case BandwidthRecord(owner=None) | ErrorRecord(error=InterfaceErrors()):
            return wanted.wants_event(_interface(record))
        case BandwidthRecord() | StallRecord() | ErrorRecord(error=SocketError()):
            return wanted.wants_owner(record.owner) and wanted.wants_event(_interface(record))
    return True


def _interface(record: BandwidthRecord | StallRecord | ErrorRecord) -> str | None:
    match record:
        case BandwidthRecord():
            return record.interface
        case StallRecord():
            return record.stall.socket.interface
        case ErrorRecord(error=SocketError() as error):
            return error.socket.interface
        case ErrorRecord(error=InterfaceErrors() as errors):
            return errors.interface
    return None


def _print(first: Frame, rest: Iterator[Frame], stdout: int) -> None:
    """Write each frame as text, without trailing space, and an empty line after it."""
    frame: Frame | None = first
    while frame is not None:
        lines = draw(frame[1], Ui(), _WIDTH, _HEIGHT, title=clock_text(frame[0]))
        text = [line.text.rstrip() for line in lines[:-1]]  # the last one has the keys
        while text and not text[-1]:
            text.pop()
        answer = "".join(f"{line}\n" for line in [*text, ""]).encode("ascii")
        frame = next(rest, None) if write_answer(stdout, answer) else None


class _Player:
    """Draws frames at a pace, and handles keys.  A signal and a gone terminal stop it."""

    def __init__(self, live: Live, signals: socket.socket, title: str, interval_ns: int) -> None:
        self._live = live
        self._signals = signals
        self._title = title
        self._interval_ns = interval_ns
        self._view = View(0)
        self._ui = Ui()
        self._over = False
        signal.signal(signal.SIGWINCH, lambda *_: None)  # wakes, by the wakeup descriptor

    def run(self, first: Frame, rest: Iterator[Frame]) -> None:
        """Show the frames until the user quits; the last one stays."""
        frame = first
        due_ns = time.monotonic_ns() + self._interval_ns
        while not self._ui.quit:
            self._draw(frame)
            steps = self._wait(due_ns)
            if time.monotonic_ns() >= due_ns:
                due_ns = time.monotonic_ns() + self._interval_ns
                steps += not self._ui.paused
            for _ in range(steps):
                found = next(rest, None)
                self._over = found is None
                frame = found or frame

    def _wait(self, due_ns: int) -> int:
        """Handle keys and signals until a frame is due; return the number of steps asked for."""
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        poll.register(_STDIN, select.POLLIN)
        still = self._over or self._ui.paused
        left_ms = max(due_ns - time.monotonic_ns(), 0) / _NS_PER_MS
        steps = 0
        for fd, _ in poll.poll(None if still else left_ms):
            if fd == _STDIN:
                steps += self._obey(read_keys(_STDIN))
            elif set(self._signals.recv(64)) - {signal.SIGWINCH}:
                self._ui = replace(self._ui, quit=True)
        return steps

    def _obey(self, keys: list[str] | None) -> int:
        if keys is None:  # the terminal is gone
            self._ui = replace(self._ui, quit=True)
            return 0
        steps = 0
        for key in keys:
            if key == _STEP and self._ui.mode is not Mode.FILTER:
                self._ui = replace(self._ui, paused=True)
                steps += 1
            else:
                self._ui = on_key(self._ui, key, shown(self._view, self._ui))
        return steps

    def _draw(self, frame: Frame) -> None:
        ts_ms, self._view = frame
        states = " (last)" if self._over else ""
        hint = (
            f"a recording has no live process: xctl-probe-network --record DIR why "
            f"{self._ui.why_pid} --since 1h lists its stalls"
        )
        title = f"{clock_text(ts_ms)}{states} {self._title}"
        if not show(self._live, self._view, self._ui, title, [hint]):  # the terminal is gone
            self._ui = replace(self._ui, quit=True)
