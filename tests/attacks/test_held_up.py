"""What an ordinary user does keeps the probe of root from nothing: it measures, tells and ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.namespace import end, spawn
from support.require import require

INTERVAL_S = 0.2
RESIDENT_BYTES = 60 << 20
ATTACKERS = Path(__file__).parent / "attackers.py"
SYSTEM_PYTHON = "/usr/bin/python3"  # that any user may run
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def attacker(netns):
    """Start an attack; give back the pid of the client that it makes wait, or 0."""
    require(os.geteuid() == 0, "this needs root")
    started = []

    def start(name):
        words = [*netns.command("root"), SYSTEM_PYTHON, "-c", ATTACKERS.read_text(), name]
        started.append(spawn(words, stdin=subprocess.PIPE))
        word, pid = started[-1].stdout.readline().split()
        assert word == b"ready"
        return int(pid)

    yield start
    for one in started:
        one.stdin.close()
        end(one)


@pytest.mark.parametrize("name", ["descriptors", "long_list", "copies", "page", "namespaces"])
def test_others_are_reported_in_time_meanwhile(name, backend, probe, worker, attacker):
    """And the attacker's own wait too, where his peer is not seen to wait for more."""
    running = probe("--loopback", interval=INTERVAL_S)
    running.wait_ready()
    waits = attacker(name)
    running.wait_for_intervals(5)

    server, client = worker("blocking"), worker("blocking")
    inode = client.connect("127.0.0.1", server.ask("listen")["port"])["inode"]
    server.ask("accept")
    client.tell("ask", 23, 29)
    running.wait_for(lambda seen: len(seen.stalls(inode=inode, ongoing=True)) >= 3, timeout=60)
    running.wait_for_intervals(5)
    if waits and name == "page":
        running.wait_for(lambda seen: [r for r in seen.stalls(ongoing=True) if r.pid == waits], 60)
    assert running.resident_bytes() < RESIDENT_BYTES

    told = running.stop(signal.SIGTERM)
    assert {r.pid for r in told.stalls(inode=inode)} == {client.pid}
    assert {one.net["interval_ms"] < 3_000 for one in told.interface_bandwidth("lo")} == {True}


def test_why_is_not_held_up_by_the_peer_that_it_reads(netns, installed, attacker):
    """One line instead of an answer; the reader is left behind."""
    words = [*netns.command("root"), str(installed.command), "why", str(attacker("page"))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "does not return" in line
