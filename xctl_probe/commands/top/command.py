"""What `top` does: drain the source, draw, and obey the keys, until told to stop."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from xctl_probe.aggregate import summarize
from xctl_probe.commands.top.keys import raw_keys, read_keys
from xctl_probe.commands.top.model import Model, View
from xctl_probe.commands.top.screen import Line, draw
from xctl_probe.commands.top.ui import Mode, Ui, pressed, shown
from xctl_probe.commands.why.diagnose import explain
from xctl_probe.commands.why.report import to_text
from xctl_probe.config import Settings
from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.events import Source
from xctl_probe.pipeline import epoch_ms
from xctl_probe.signals import stop_signals
from xctl_probe.sources.interfaces import Interfaces
from xctl_probe.sources.select import open_source

STYLES = {
    "": "",
    "title": "bold reverse",
    "heading": "bold cyan",
    "stall": "bold red",
    "ended": "dim",
    "error": "yellow",
    "selected": "reverse",
    "keys": "dim",
    "prompt": "bold",
}
_NS_PER_MS = 1_000_000
_BREATH_NS = 10_000_000  # a source that has news is not asked more often, as in the stream
_STDIN, _STDOUT = 0, 1


def run(settings: Settings) -> None:
    """Show the screen until the user leaves.  Raises UsageError where there is no terminal."""
    if not (os.isatty(_STDIN) and os.isatty(_STDOUT)):
        raise UsageError("top needs a terminal: leave the word out to write lines to a pipe")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("top needs a terminal that can be drawn on: TERM is dumb or not set")
    source, _ = open_source(settings)
    try:
        with stop_signals() as signals, raw_keys(_STDIN):
            _Top(settings, source, signals).run()
    finally:
        source.close()


class _Why:
    """The explanation of one process, looked up beside the screen and again each interval."""

    def __init__(self, stall_ms: int) -> None:
        self._stall_ms = stall_ms
        self.lines: Sequence[str] = ()
        self._pid: int | None = None
        self._thread: threading.Thread | None = None

    def show(self, pid: int | None) -> None:
        """Look at this process now; None when the user has left."""
        if pid != self._pid:
            self._pid, self.lines = pid, () if pid is None else (f"looking at {pid} ...",)
        if pid is not None and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._look, args=(pid,), daemon=True)
            self._thread.start()

    def _look(self, pid: int) -> None:
        try:
            lines = to_text(explain(pid, stall_ms=self._stall_ms)).decode("ascii").splitlines()
        except (ProbeError, OSError) as error:
            lines = [str(error)]
        if pid == self._pid:
            self.lines = lines


class _Top:
    def __init__(self, settings: Settings, source: Source, signals: socket.socket) -> None:
        self._settings = settings
        self._source = source
        self._signals = signals
        wanted = settings.wanted
        # A person looks: everything counts, loopback and the smallest transfers, too.
        self._wanted = replace(wanted, min_mbps=0.0, loopback=True)
        self._interfaces = Interfaces(wanted.interfaces, loopback=True)
        self._model = Model()
        self._view = View(time.monotonic_ns())
        self._ui = Ui()
        self._why = _Why(settings.stall_ns // _NS_PER_MS)
        self._drained_ns = time.monotonic_ns()
        self._title = f"xctl-probe-network top: {source.name} ({source.sees})"
        signal.signal(signal.SIGWINCH, lambda *_: None)  # wakes, by the wakeup descriptor

    def run(self) -> None:
        """Poll, drain and draw until there is a reason to leave."""
        console = Console(highlight=False, emoji=False, markup=False)
        interval_ns = self._settings.interval_ns
        next_poll_ns, next_drain_ns = 0, self._drained_ns + interval_ns
        duration_ns = self._settings.duration_ns
        end_ns = None if duration_ns is None else self._drained_ns + duration_ns
        listen_ns = 0
        with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
            self._draw(live)
            while not self._ui.quit:
                now_ns = time.monotonic_ns()
                if end_ns is not None and now_ns >= end_ns:
                    return
                if now_ns >= next_drain_ns:
                    self._drain(now_ns)
                    next_drain_ns = max(next_drain_ns + interval_ns, now_ns)
                    self._draw(live)
                elif now_ns >= next_poll_ns:
                    next_poll_ns = self._source.poll(now_ns)
                    listen_ns = now_ns + _BREATH_NS
                wake_ns = min(next_poll_ns, next_drain_ns, end_ns or next_drain_ns)
                redraw, news = self._wait(wake_ns, listen=now_ns >= listen_ns)
                if news:
                    next_poll_ns = 0
                if redraw:
                    self._draw(live)

    def _drain(self, now_ns: int) -> None:
        batch = self._source.drain(now_ns)
        elapsed_ns = batch.taken_ns - self._drained_ns
        self._drained_ns = batch.taken_ns
        facts = [*batch.facts, *self._interfaces.collect()]
        self._model.add(summarize(facts, self._wanted, elapsed_ns, epoch_ms()), now_ns)
        if not self._ui.paused:
            self._view = self._model.view(now_ns)
            self._why.show(self._ui.why_pid)

    def _wait(self, wake_ns: int, *, listen: bool) -> tuple[bool, bool]:
        """Sleep until there is something to do: whether to draw, and whether there is news."""
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        poll.register(_STDIN, select.POLLIN)
        now_ns = time.monotonic_ns()
        source_fd = self._source.fileno()
        if source_fd is not None and listen:
            poll.register(source_fd, select.POLLIN)
        elif source_fd is not None:
            wake_ns = min(wake_ns, now_ns + _BREATH_NS)
        redraw = news = False
        for fd, _ in poll.poll(max(wake_ns - now_ns, 0) / _NS_PER_MS):
            if fd == self._signals.fileno():
                numbers = self._signals.recv(64)
                redraw = True
                if set(numbers) - {signal.SIGWINCH}:
                    self._ui = replace(self._ui, quit=True)
            elif fd == _STDIN:
                redraw = True
                self._obey(read_keys(_STDIN))
            else:
                news = True
        return redraw, news

    def _obey(self, keys: list[str] | None) -> None:
        if keys is None:  # the terminal is gone
            self._ui = replace(self._ui, quit=True)
            return
        for key in keys:
            was = self._ui
            self._ui = pressed(was, key, shown(self._view, was))
            if was.paused and not self._ui.paused:
                self._view = self._model.view(time.monotonic_ns())
            if self._ui.mode is Mode.WHY or was.mode is Mode.WHY:
                self._why.show(self._ui.why_pid)

    def _draw(self, live: Live) -> None:
        # Not COLUMNS and LINES, which do not follow a resize.
        width, height = os.get_terminal_size(_STDOUT)
        live.console.size = ConsoleDimensions(width, height)
        lines = draw(self._view, self._ui, width, height, title=self._title, why=self._why.lines)
        live.update(_rendered(lines), refresh=True)


def _rendered(lines: Sequence[Line]) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for i, line in enumerate(lines):
        text.append(("\n" if i else "") + line.text, STYLES[line.style])
    return text
