"""The modes of the terminal while keys are read, and afterwards."""

from __future__ import annotations

import os
import termios

import pytest

from xctl_probe.commands.top.keys import raw_keys, read_keys, restorer

C_CC = 6


@pytest.fixture
def terminal():
    """Both sides; a test may close its own."""
    ours, theirs = os.openpty()
    yield ours, theirs
    for fd in (ours, theirs):
        try:
            os.close(fd)
        except OSError:
            continue


def test_no_key_stops_or_kills_what_reads_keys(terminal):
    """Neither ctrl-Z nor ctrl-\\: each is a byte like any other."""
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    with raw_keys(theirs):
        now = termios.tcgetattr(theirs)
        assert [now[C_CC][key] for key in (termios.VSUSP, termios.VQUIT)] == [b"\0", b"\0"]
        os.write(ours, b"\x1c\x1aq")
        assert read_keys(theirs) == ["q"]
    assert termios.tcgetattr(theirs) == before


def test_a_terminal_that_is_gone_is_no_error(terminal):
    ours, theirs = terminal
    with raw_keys(theirs):
        os.close(ours)
        assert read_keys(theirs) is None
    with pytest.raises(termios.error):
        termios.tcgetattr(theirs)


def test_the_modes_are_restored_whatever_output_waits(terminal):
    """Of what the other side has not read."""
    _, theirs = terminal
    before, restore = termios.tcgetattr(theirs), restorer(theirs)
    os.write(theirs, b"x")
    changed = termios.tcgetattr(theirs)
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, changed)
    restore()
    assert termios.tcgetattr(theirs) == before
