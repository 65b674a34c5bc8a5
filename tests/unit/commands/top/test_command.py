"""The screen on a terminal that is gone, takes no output, or cannot be drawn on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from xctl_probe.commands.top import command
from xctl_probe.commands.top.command import check_terminal, live_screen, show
from xctl_probe.commands.top.model import View
from xctl_probe.commands.top.ui import Ui
from xctl_probe.errors import UsageError

ENOUGH_S = 60
# A source without events; one byte on stderr before the screen is drawn for the first time.
TOP = """
import os
from types import SimpleNamespace
from xctl_probe.commands.top import command
from xctl_probe.config.settings import Settings
from xctl_probe.events import Batch

source = SimpleNamespace(
    name="none", description="", close=lambda: None, fileno=lambda: None,
    poll=lambda now_ns: now_ns + 10**12, drain=lambda now_ns: Batch(now_ns, []),
)
screen = command.live_screen
def announced():
    os.write(2, b"x")
    return screen()
command.open_source = command.with_protocols = lambda *_: (source, None)
command.with_packets = lambda *_: (source, None)
command.live_screen = announced
command._LONGEST_END_S = 0.1
command.run(Settings.checked({}))
"""


@pytest.fixture(autouse=True)
def hangups_are_not_ignored():
    """Where nohup runs the tests, they are."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def terminal():
    """Both sides of a terminal; closed here, or by the test.

    One screen is more than it takes before the other side reads.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (499, 499))
    yield ours, theirs
    for fd in (ours, theirs):
        with suppress(OSError):
            os.close(fd)


@pytest.fixture
def top(terminal):
    """The screen on that terminal, about to draw, and the modes that the terminal had before."""
    _, theirs = terminal
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(
        [sys.executable, "-c", TOP],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm"},
    ) as process:
        assert process.stderr.read(1) == b"x"
        yield process, before
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_while_the_terminal_takes_no_output(terminal, top, number):
    """And the terminal has its modes back."""
    process, before = top
    process.send_signal(number)
    assert process.wait(ENOUGH_S) == 0
    assert termios.tcgetattr(terminal[1]) == before


def test_a_terminal_that_is_gone_stops_it_without_an_error(terminal, top):
    process, _ = top
    for fd in terminal:
        os.close(fd)
    assert (process.wait(ENOUGH_S), process.stderr.read()) == (0, b"")


def test_a_terminal_that_is_gone_before_the_screen_is_drawn_is_no_error():
    """Nothing that it did not take is left to be written at the exit."""
    gone = """
import os
from xctl_probe.commands.top.command import live_screen
ours, theirs = os.openpty()
os.dup2(theirs, 1)
os.close(theirs)
os.close(ours)
with live_screen():
    pass
"""
    done = subprocess.run(
        [sys.executable, "-c", gone],
        env=os.environ | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=ENOUGH_S,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_cannot_be_drawn_any_more_is_gone(monkeypatch):
    def gone(_fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(command.os, "get_terminal_size", gone)
    with live_screen() as live:
        assert not show(live, View(0), Ui(), "top")


@pytest.mark.parametrize("name", ["dumb", "unknown", "Unknown", None])
def test_a_terminal_that_rich_does_not_draw_on_is_refused(monkeypatch, name):
    monkeypatch.delenv("TERM", raising=False)
    if name is not None:
        monkeypatch.setenv("TERM", name)
    with pytest.raises(UsageError, match="TERM is dumb, unknown or not set"):
        check_terminal()


def test_any_other_terminal_is_drawn_on(monkeypatch):
    monkeypatch.setenv("TERM", "vt100")
    check_terminal()
