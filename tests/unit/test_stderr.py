"""stderr: one line each, within a budget, and never a wait."""

from __future__ import annotations

import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.stderr import BUDGET_BYTES, Diagnostics

PIPE_BYTES = 65_536


@pytest.fixture
def pipe():
    """[read end, write end]; a test that closes one puts -1 in its place."""
    both = [*os.pipe()]
    os.set_blocking(both[0], False)
    yield both
    for fd in both:
        if fd >= 0:
            os.close(fd)


def read(fd):
    try:
        return os.read(fd, PIPE_BYTES)
    except BlockingIOError:
        return b""


def test_a_message_is_one_line_that_names_the_program(pipe):
    """Whoever reads the log of many programs knows whose it is."""
    Diagnostics(pipe[1]).report("source proc")
    assert read(pipe[0]) == b"xctl-probe-network: source proc\n"


@given(st.text(max_size=101))
def test_any_message_is_one_printable_line(message):
    """Newlines and escape codes of a hostile name do not reach the terminal or the log."""
    ours, theirs = os.pipe()
    try:
        Diagnostics(theirs).report(message)
        line = os.read(ours, PIPE_BYTES)
    finally:
        os.close(ours)
        os.close(theirs)
    assert line.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E for byte in line[:-1])


def test_all_that_is_ever_written_stays_below_a_page(pipe):
    """No process may read it: 1,009 messages and a last word, each line whole or cut short."""
    diagnostics = Diagnostics(pipe[1])
    for _ in range(1_009):
        diagnostics.report("seventeen letters")
    diagnostics.fail("the end")
    written = read(pipe[0])
    assert len(written) <= 4_096 == BUDGET_BYTES
    line = b"xctl-probe-network: seventeen letters\n"
    assert written.startswith(line * 93)
    assert written.endswith(b"\nxctl-probe-network: the end\n")


@pytest.mark.parametrize("last", [False, True])
def test_a_long_error_is_shortened_not_lost(pipe, last):
    """The one line that names a mistake comes, though it lists a thousand interfaces."""
    diagnostics = Diagnostics(pipe[1])
    message = "--interface eth7: unknown; there are " + "veth1009, " * 1_009
    (diagnostics.fail if last else diagnostics.report)(message)
    written = read(pipe[0])
    assert written.startswith(b"xctl-probe-network: --interface eth7: unknown")
    assert written.endswith(b" ...\n")
    assert len(written) <= (512 if last else 1_024)


def test_a_full_pipe_is_not_waited_for(pipe):
    """What does not go in at once is left out."""
    os.write(pipe[1], bytes(PIPE_BYTES))
    Diagnostics(pipe[1]).report("lost")
    assert read(pipe[0]) == bytes(PIPE_BYTES)
    assert read(pipe[0]) == b""


def test_a_closed_reader_is_no_process_to_report_to(pipe):
    """Neither an exception nor a signal stops the probe."""
    os.close(pipe[0])
    pipe[0] = -1
    Diagnostics(pipe[1]).report("lost")


def test_a_closed_stderr_is_no_process_to_report_to(pipe):
    """Started with 2>&-."""
    os.close(pipe[1])
    diagnostics, pipe[1] = Diagnostics(pipe[1]), -1
    diagnostics.report("lost")


def test_a_terminal_has_no_budget():
    """A person reads it."""
    ours, theirs = pty.openpty()
    try:
        diagnostics = Diagnostics(theirs)
        line = b"xctl-probe-network: " + b"x" * 101 + b"\r\n"
        for n in range(53):
            diagnostics.report("x" * 101)
            shown = b""
            while len(shown) < len(line):
                shown += os.read(ours, PIPE_BYTES)
            assert (n, shown) == (n, line)
    finally:
        os.close(ours)
        os.close(theirs)
