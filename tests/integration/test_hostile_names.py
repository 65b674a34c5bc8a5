"""A process may call itself anything; what comes out is one valid line, and no escape code."""

from __future__ import annotations

import os
import pty
import re
import select
import time

import pytest

# At most 15 bytes each: quotes, newlines, a screen-clearing code, a title, invalid UTF-8, a
# surrogate, a right-to-left override, and what would be a record's end.
NAMES = [
    b'"}\n{"ts":0,"\\',
    b"\x1b[2J\x1b[31mred",
    b"\x1b]0;owned\x07",
    b"\xff\xfe\xc3(\x80\xf0\x9f",
    b"\xed\xa0\x80 \xed\xb0\x80",
    "\u202e\u2028\u009b31m".encode(),
    b"link_down\r\x7f\t",
]
# A process with many descriptors elsewhere on the host does not delay the search for these.
OWNERS = ("--proc-budget", "50")


@pytest.fixture
def waiting(worker):
    """A process of that name, which waits for an answer until the test is over."""

    def start(name):
        server, client = worker(), worker(comm=name)
        port = server.ask("listen")["port"]
        client.connect("127.0.0.1", port)
        server.ask("accept")
        client.begin("ask", 7, 11)
        server.ask("recv", 7)
        return client

    return start


def test_hostile_names_are_valid_records(probe, waiting):
    """Each process is reported under its own pid; the model checks every line for the rest."""
    running = probe(*OWNERS)
    clients = {waiting(name).pid: name for name in NAMES}
    running.wait_for(lambda c: {r.pid for r in c.stalls(ongoing=True)} >= clients.keys())
    running.wait_for_intervals(2)
    consumer = running.stop()
    for pid, name in clients.items():
        (reported,) = {r.net["comm"] for r in consumer.stalls(pid=pid)}
        if name.isascii():
            assert reported == name.decode()


# A whole line of ours, in colour or not; what is between is visible ASCII and nothing else.
LINE = re.compile(rb"(\x1b\[3[13]m)?[ -~]*(?(1)\x1b\[0m)\r")


@pytest.mark.parametrize(
    ("options", "env"),
    [((), {}), (("--format", "text"), {}), ((), {"NO_COLOR": "1"})],
    ids=["auto", "text", "no colour"],
)
def test_no_name_reaches_the_terminal_as_a_code(start_probe, waiting, options, env):
    """On a terminal every process is shown, and no code but the colour of a whole line."""
    ours, terminal = pty.openpty()
    try:
        words = ("--backend", "proc", "--interval", "0.2", *OWNERS, *options)
        running = start_probe(*words, stdout=terminal, env=env)
        running.wait_for_stderr("source")
        os.close(terminal)
        pids = {str(waiting(name).pid).encode() for name in NAMES}
        shown = b""
        deadline = time.monotonic() + 60
        while not all(pid in shown for pid in pids):
            left = deadline - time.monotonic()
            assert left > 0, [pid for pid in pids if pid not in shown]
            missing = [pid for pid in pids if pid not in shown]
            assert select.select([ours], [], [], left)[0], (missing, shown[-4096:])
            shown += os.read(ours, 65_536)
        *lines, _ = shown.split(b"\n")  # the last may be on its way
        assert [line for line in lines if not LINE.fullmatch(line)] == []
        assert any(b"waits" in line for line in lines)
        if env:
            assert b"\x1b" not in shown
    finally:
        os.close(ours)
