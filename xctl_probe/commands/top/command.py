"""The command `top`: draws the records of each interval, and handles keys."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from xctl_probe.commands.top.keys import raw_keys, read_keys, restorer
from xctl_probe.commands.top.model import Model, View
from xctl_probe.commands.top.queue_pairs import QueuePairTable
from xctl_probe.commands.top.screen import Line, draw
from xctl_probe.commands.top.ui import Mode, Ui, on_key, shown
from xctl_probe.commands.why.explain import explain
from xctl_probe.commands.why.report import to_text
from xctl_probe.config.settings import Settings
from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.exporters.records import Record, StallRecord, is_probable
from xctl_probe.pipeline import Loop
from xctl_probe.signals import stop_signals
from xctl_probe.sources.select import open_source, with_packets, with_protocols

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
_STDIN, _STDOUT = 0, 1
_WIDTH, _HEIGHT = 80, 24  # of a terminal that does not know its size
_NS_PER_MS = 1_000_000
_LONGEST_END_S = 1.7  # from a signal to the exit, as of the stream: a terminal may take no output


def run(settings: Settings) -> None:
    """Show the screen until the user quits.  Raises UsageError without a terminal."""
    if not (os.isatty(_STDIN) and os.isatty(_STDOUT)):
        raise UsageError("top needs a terminal: leave the word out to write lines to a pipe")
    check_terminal()
    # On the screen, loopback and the smallest transfers count, too.
    wanted = replace(settings.wanted, min_mbps=0.0, loopback=True)
    settings = replace(settings, wanted=wanted, process_state=False)
    source, _ = with_protocols(open_source(settings)[0], settings)
    source, _ = with_packets(source, settings, lambda _: None)  # the screen has no place for it
    try:
        with terminal() as (live, signals):
            title = f"xctl-probe-network top: {source.name} ({source.description})"
            loop = Loop(
                settings,
                source,
                _Screen(live, signals, title, settings),
            )
            with closing(loop):
                loop.run()
    finally:
        source.close()


@contextmanager
def terminal() -> Iterator[tuple[Live, socket.socket]]:
    """Yield the screen and the descriptor of signals; keys are read as they are pressed."""
    with (
        stop_signals(_LONGEST_END_S, restorer(_STDIN), writes_block=True) as signals,
        raw_keys(_STDIN),
        live_screen() as live,
    ):
        yield live, signals


@contextmanager
def live_screen() -> Iterator[Live]:
    """Yield the screen, which covers the terminal until it is left, or gone."""
    # Not sys.stdout: what a gone terminal did not take would be an error at the exit.
    output = open(_STDOUT, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    # It is one: TTY_COMPATIBLE and FORCE_COLOR do not decide that.
    console = Console(file=output, force_terminal=True, highlight=False, emoji=False, markup=False)
    live = Live(console=console, screen=True, auto_refresh=False, transient=True)
    try:
        with suppress(OSError):
            live.start()
        yield live
    finally:
        with suppress(OSError):
            live.stop()
        with suppress(OSError):
            output.close()


class _Why:
    """Explanation of one process, computed in a thread once an interval."""

    def __init__(self, stall_ms: int) -> None:
        self._stall_ms = stall_ms
        self.reported: Sequence[StallRecord] = ()  # the ongoing stalls of the last interval
        self.lines: Sequence[str] = ()
        self._pid: int | None = None
        self._thread: threading.Thread | None = None

    def show(self, pid: int | None) -> None:
        """Explain this process from now on; None stops."""
        if pid != self._pid:
            self._pid, self.lines = pid, () if pid is None else (f"sampling {pid} ...",)
        if pid is not None and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._diagnose, args=(pid,), daemon=True)
            self._thread.start()

    def _diagnose(self, pid: int) -> None:
        try:
            found = explain(pid, self.reported, stall_ms=self._stall_ms)
            lines = to_text(found).decode("ascii").splitlines()
        except (ProbeError, OSError) as error:
            lines = [str(error)]
        if pid == self._pid:
            self.lines = lines


class _Screen:
    """Sink of `top`.  A key, a signal and a gone terminal stop the run."""

    def __init__(self, live: Live, signals: socket.socket, title: str, settings: Settings) -> None:
        self._live = live
        self._probable = settings.report_probable
        self._signals = signals
        self._title = title
        self._model = Model()
        self._queue_pairs = QueuePairTable()
        self._view = View(time.monotonic_ns())
        self._ui = Ui()
        self._why = _Why(settings.stall_ns // _NS_PER_MS)
        self._stale = False
        signal.signal(signal.SIGWINCH, lambda *_: None)  # wakes, by the wakeup descriptor
        self._draw()

    @property
    def ended(self) -> bool:
        return self._ui.quit

    def put(self, records: Iterable[Record], now_ns: int) -> None:
        records = list(records)
        stalls = (one for one in records if isinstance(one, StallRecord))
        self._why.reported = [one for one in stalls if one.stall.ongoing]
        self._model.add([r for r in records if self._probable or not is_probable(r)], now_ns)
        self._queue_pairs.refresh()
        self._stale = True
        if not self._ui.paused:
            self._view = self._viewed(now_ns)
            self._why.show(self._ui.why_pid)

    def flush(self) -> None:
        if self._stale:
            self._stale = False
            self._draw()

    def descriptors(self) -> Iterable[tuple[int, int]]:
        return (self._signals.fileno(), select.POLLIN), (_STDIN, select.POLLIN)

    def retry_ns(self) -> int | None:
        return None

    def wake(self, fd: int, events: int) -> None:  # noqa: ARG002 - a read shows every end
        self._stale = True
        if fd == _STDIN:
            self._obey(read_keys(_STDIN))
        elif set(self._signals.recv(64)) - {signal.SIGWINCH}:
            self._ui = replace(self._ui, quit=True)

    def _obey(self, keys: list[str] | None) -> None:
        if keys is None:  # the terminal is gone
            self._ui = replace(self._ui, quit=True)
            return
        for key in keys:
            was = self._ui
            self._ui = on_key(was, key, shown(self._view, was))
            if was.paused and not self._ui.paused:
                self._view = self._viewed(time.monotonic_ns())
            if self._ui.mode is Mode.WHY or was.mode is Mode.WHY:
                self._why.show(self._ui.why_pid)

    def _viewed(self, now_ns: int) -> View:
        return replace(self._model.view(now_ns), queue_pairs=self._queue_pairs.rows)

    def _draw(self) -> None:
        if not show(self._live, self._view, self._ui, self._title, self._why.lines):
            self._ui = replace(self._ui, quit=True)


def show(live: Live, view: View, ui: Ui, title: str, why: Sequence[str] = ()) -> bool:
    """Draw the screen in the size that the terminal has now; False where the terminal is gone."""
    try:
        # Not COLUMNS and LINES, which do not follow a resize.
        columns, rows = os.get_terminal_size(_STDOUT)
        width, height = columns or _WIDTH, rows or _HEIGHT  # 0: a serial console that has no size
        live.console.size = ConsoleDimensions(width, height)
        lines = draw(view, ui, width, height, title=title, why=why)
        live.update(_rendered(lines), refresh=True)
    except OSError:
        return False
    return True


def check_terminal() -> None:
    """Raise UsageError where the terminal cannot be drawn on."""
    # Rich draws nothing on either.
    if os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown"):
        raise UsageError(
            "top needs a terminal that can be drawn on: TERM is dumb, unknown or not set"
        )


def _rendered(lines: Sequence[Line]) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for i, line in enumerate(lines):
        text.append(("\n" if i else "") + line.text, STYLES[line.style])
    return text
