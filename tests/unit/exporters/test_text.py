"""Lines for people: aligned, complete, and harmless to a terminal."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.exporters.test_records import CLIENT, NOW_MS, RECORDS, SOCKET, STALL

from xctl_probe.events import (
    Direction,
    ErrorKind,
    InterfaceCounts,
    Lost,
    Process,
    SocketError,
    Stall,
)
from xctl_probe.exporters.records import (
    Bandwidth,
    error_event,
    interface_events,
    lost_event,
    stall_event,
)
from xctl_probe.exporters.text import printable, to_coloured_text, to_text


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The clock of the lines is the local one: here UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            stall_event(STALL, NOW_MS),
            b"22:13:20  stall      233 client           waited    1.301 s"
            b" for data from [fe80::b]:5437  (no_reply)  socket-4241\n",
        ),
        (
            stall_event(Stall(None, SOCKET, Direction.SEND, 11_000_000_007, True), NOW_MS),
            b"22:13:20  stall        - -                waits    11.000 s"
            b" to send to [fe80::b]:5437  socket-4241\n",
        ),
        (
            stall_event(Stall(CLIENT, SOCKET, Direction.CONNECT, 0, True), NOW_MS),
            b"22:13:20  stall      233 client           waits     0.000 s"
            b" to connect to [fe80::b]:5437  socket-4241\n",
        ),
        (
            error_event(SocketError(CLIENT, SOCKET, ErrorKind.RESET, 7), NOW_MS),
            b"22:13:20  error      233 client           RESET:7  socket-4241"
            b"  10.0.0.7:40009 -> [fe80::b]:5437\n",
        ),
        (
            interface_events(InterfaceCounts("eth0", 0, 0, 2, 3, 0, 0), NOW_MS)[0],
            b"22:13:20  error        - -                RX_ERR:2,TX_ERR:3  eth0\n",
        ),
        (
            lost_event(Lost("ring", 13), NOW_MS),
            b"22:13:20  error        - -                PROBE_LOST:13  xctl-probe\n",
        ),
        (
            Bandwidth(NOW_MS, "eth0", CLIENT, 161_000, 143_000, 800_000_000),
            b"22:13:20  bw         233 client           eth0          rx       1.61"
            b"  tx       1.43  Mbps\n",
        ),
        (
            Bandwidth(NOW_MS, "eth0", None, 0, 0, 0),
            b"22:13:20  bw           - (all)            eth0          rx       0.00"
            b"  tx       0.00  Mbps\n",
        ),
    ],
)  # fmt: skip
def test_each_kind_of_line(record, line):
    """Who, what, how long, where and why, in columns."""
    assert to_text(record) == line


@given(RECORDS)
def test_any_record_is_one_line_of_printable_ascii(record):
    """No byte of it moves a cursor, sets a title or ends the line early."""
    line = to_text(record)
    assert line.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E for byte in line[:-1])


@given(st.text(), st.binary(max_size=15))
def test_printable_is_printable_and_leaves_ascii_alone(text, raw):
    """Surrogates of undecodable names included."""
    for one in (text, raw.decode("utf-8", "surrogateescape")):
        shown = printable(one)
        assert all(" " <= c <= "~" for c in shown)
        assert (shown == one) == all(" " <= c <= "~" for c in one)


@pytest.mark.parametrize(
    ("comm", "shown"),
    [("\x1b[2J", b"\\x1b[2J"), ("a\nb", b"a\\nb"), ("é", b"\\xe9"), ("\u202e", b"\\u202e")],
)
def test_a_hostile_name_is_shown_not_obeyed(comm, shown):
    """What it is can be read; what it wants does not happen."""
    line = to_text(Bandwidth(NOW_MS, "eth0", Process(233, 7_001, comm), 0, 0, 1))
    assert b" " + shown + b" " in line


def test_colour_is_around_the_line_and_nowhere_else():
    """A stall is coloured as a whole, running and ended differently; bandwidth is plain."""
    stall = stall_event(Stall(None, SOCKET, Direction.SEND, 7_000_000, True), 1)
    ended = stall_event(Stall(None, SOCKET, Direction.SEND, 7_000_000, False), 1)
    for event, colour in ((stall, b"\x1b[31m"), (ended, b"\x1b[33m")):
        plain = to_text(event)
        assert to_coloured_text(event) == colour + plain[:-1] + b"\x1b[0m\n"
    plain = Bandwidth(1, "eth0", None, 7, 11, 13)
    assert to_coloured_text(plain) == to_text(plain)
