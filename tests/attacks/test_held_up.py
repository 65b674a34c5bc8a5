"""No act of an ordinary user hinders the probe of root: it measures, reports and exits."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack

import pytest
from support.install import NO_PROBES
from support.namespace import ATTACKER
from support.peer import Peer
from support.require import require

INTERVAL_S = 0.2
RESIDENT_BYTES = 60 << 20
# A probe that an attacker has held up reads no more of its user: no other test may be the same one.
OF_THIS_RUN = 1_000_000 + os.getpid()
ATTACKS = {
    "descriptors": ("many_descriptors", 57_000),
    "long_list": ("event_loop", 15_000, 0),
    "copies": ("event_loop", 2_000, 2_000),
    "page": ("page_that_never_comes",),
    "namespaces": ("many_namespaces", 60),
}
pytestmark = pytest.mark.timeout(400)  # a busy host takes two minutes to install the probe


@pytest.fixture
def attacker(netns):
    """Start an attack; give back the pid of the client that it makes wait, or 0."""
    require(os.geteuid() == 0, "this needs root")
    with ExitStack() as stack:
        prefix = tuple(netns.command("root"))

        def start(name, uid):
            function, *arguments = ATTACKS[name]
            words = (f"attacks.{function}", uid, *arguments)
            return stack.enter_context(Peer(*words, prefix=prefix)).first

        yield start


@pytest.fixture
def users(backend):
    """Of the probe, of the victim and of the attacker, whom the sampler sees as the same user."""
    if backend.user == "unprivileged":
        return "attacker", "attacker", ATTACKER
    return backend.user, "unprivileged", OF_THIS_RUN


@pytest.mark.parametrize("name", ATTACKS)
def test_others_are_reported_in_time_meanwhile(name, users, probe, worker, attacker):
    """And the attacker's own wait too, where his peer is not seen to wait for more."""
    of_probe, of_victim, of_attacker = users
    running = probe(interval=INTERVAL_S, user=of_probe)
    waits = attacker(name, of_attacker)
    running.wait_for_intervals(5)

    server, client = worker(user=of_victim), worker(user=of_victim)
    inode = client.connect("127.0.0.1", server.ask("listen")["port"])["inode"]
    server.ask("accept")
    client.begin("ask", 23, 29)
    running.wait_for(lambda seen: len(seen.stalls(inode=inode, ongoing=True)) >= 3, timeout=60)
    running.wait_for_intervals(5)
    if waits and name == "page":
        running.wait_for(lambda seen: [r for r in seen.stalls(ongoing=True) if r.pid == waits], 60)
    assert running.resident_bytes() < RESIDENT_BYTES

    reported = running.stop(signal.SIGTERM)
    assert {r.pid for r in reported.stalls(inode=inode)} == {client.pid}
    spans_ms = [one.net["interval_ms"] for one in reported.interface_bandwidth("lo")]
    # A busy host may hold one interval up for as long; an attack that can, does so again.
    assert sorted(spans_ms)[-2] < 3_000, spans_ms


def test_why_is_not_held_up_by_the_peer_that_it_reads(netns, installed, attacker):
    """One line instead of an answer; the reader is left behind."""
    words = [
        *netns.command("root"),
        str(installed.command),
        *NO_PROBES,
        "why",
        str(attacker("page", OF_THIS_RUN)),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "does not return" in line
