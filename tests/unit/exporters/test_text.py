"""Lines for people: aligned, complete, and harmless to a terminal."""

from __future__ import annotations

import pytest
from support.records import CLIENT, NOW_MS, SOCKET, STALL

from xctl_probe.events import (
    Direction,
    DroppedEvents,
    ErrorKind,
    Placement,
    Process,
    ProcessLoad,
    ProcessState,
    SocketError,
    Stall,
    State,
)
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    ProcessRecord,
    StallRecord,
)
from xctl_probe.exporters.text import to_coloured_text, to_text

LOAD = ProcessLoad(CLIENT, 2_510_000_000, 1_000_000_000, 1 << 30, 8 << 30)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            StallRecord(NOW_MS, STALL),
            b"22:13:20  stall      233 client           waited    1.301 s"
            b" for data from [fe80::b]:5437  (no_reply)  socket-4241\n",
        ),
        (
            StallRecord(NOW_MS, Stall(None, SOCKET, Direction.SEND, 11_000_000_007, True)),
            b"22:13:20  stall        - -                waits    11.000 s"
            b" to send to [fe80::b]:5437  socket-4241\n",
        ),
        (
            StallRecord(NOW_MS, Stall(CLIENT, SOCKET, Direction.CONNECT, 0, True)),
            b"22:13:20  stall      233 client           waits     0.000 s"
            b" to connect to [fe80::b]:5437  socket-4241\n",
        ),
        (
            StallRecord(NOW_MS, STALL, Placement("4711", rank=3)),
            b"22:13:20  stall      233 client           waited    1.301 s"
            b" for data from [fe80::b]:5437  (no_reply)  socket-4241  job 4711 rank 3\n",
        ),
        (
            StallRecord(NOW_MS, STALL, Placement(container="c0ffee00" * 8)),
            b"22:13:20  stall      233 client           waited    1.301 s"
            b" for data from [fe80::b]:5437  (no_reply)  socket-4241\n",
        ),
        (
            ProcessRecord(NOW_MS, ProcessState(CLIENT, Placement("4711"), State.START)),
            b"22:13:20  state      233 client           start  job 4711\n",
        ),
        (
            CpuRecord(NOW_MS, LOAD),
            b"22:13:20  cpu        233 client           251.00 % of a core\n",
        ),
        (
            MemoryRecord(NOW_MS, LOAD, Placement("4711")),
            b"22:13:20  memory     233 client            12.50 % of the host's  job 4711\n",
        ),
        (
            ErrorRecord(NOW_MS, SocketError(CLIENT, SOCKET, ErrorKind.RESET, 7)),
            b"22:13:20  error      233 client           RESET:7  socket-4241"
            b"  10.0.0.7:40009 -> [fe80::b]:5437\n",
        ),
        (
            ErrorRecord(NOW_MS, SocketError(CLIENT, SOCKET, ErrorKind.REFUSED, 7, 3)),
            b"22:13:20  error      233 client           CONNECT_REFUSED:7  socket-4241"
            b"  * -> [fe80::b]:5437\n",
        ),
        (
            ErrorRecord(NOW_MS, InterfaceErrors("eth0", InterfaceFailure.ERRORS, 2, 3)),
            b"22:13:20  error        - -                RX_ERR:2,TX_ERR:3  eth0\n",
        ),
        (
            ErrorRecord(NOW_MS, DroppedEvents("ring", 13)),
            b"22:13:20  error        - -                PROBE_LOST:13  xctl-probe\n",
        ),
        (
            BandwidthRecord(NOW_MS, "eth0", CLIENT, 161_000, 143_000, 800_000_000),
            b"22:13:20  bw         233 client           eth0          rx       1.61"
            b"  tx       1.43  Mbps\n",
        ),
        (
            BandwidthRecord(NOW_MS, "eth0", None, 0, 0, 0),
            b"22:13:20  bw           - (all)            eth0          rx       0.00"
            b"  tx       0.00  Mbps\n",
        ),
    ],
)  # fmt: skip
def test_each_kind_of_line(record, line):
    """Who, what, how long, where and why, in columns."""
    assert to_text(record) == line


@pytest.mark.parametrize(
    ("comm", "shown"),
    [("\x1b[2J", b"\\x1b[2J"), ("a\nb", b"a\\nb"), ("é", b"\\xe9"), ("\u202e", b"\\u202e")],
)
def test_a_hostile_name_is_shown_not_obeyed(comm, shown):
    """What it is can be read; what it wants does not happen."""
    line = to_text(BandwidthRecord(NOW_MS, "eth0", Process(233, 7_001, comm), 0, 0, 1))
    assert b" " + shown + b" " in line


def test_colour_is_around_the_line_and_nowhere_else():
    """A stall is coloured as a whole, running and ended differently; bandwidth is plain."""
    stall = StallRecord(1, Stall(None, SOCKET, Direction.SEND, 7_000_000, True))
    ended = StallRecord(1, Stall(None, SOCKET, Direction.SEND, 7_000_000, False))
    for event, colour in ((stall, b"\x1b[31m"), (ended, b"\x1b[33m")):
        plain = to_text(event)
        assert to_coloured_text(event) == colour + plain[:-1] + b"\x1b[0m\n"
    plain = BandwidthRecord(1, "eth0", None, 7, 11, 13)
    assert to_coloured_text(plain) == to_text(plain)
