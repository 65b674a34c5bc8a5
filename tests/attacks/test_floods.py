"""What one user's processes do in thousands: another user is reported still, and sums are exact.

Each attacker is the user nobody, the victim is root; they need root, and the kernel source.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from support.namespace import NOBODY, end, spawn

CONNECTS, REFUSALS = 3_001, 2_003
OF_PROCESS = 256  # records of stalls in one interval

CONNECTING = """
import os, resource, socket, sys
uid, count, port = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
os.setuid(uid)
held = []
for _ in range(count):
    one = socket.socket(); one.setblocking(False)
    one.connect_ex(("127.0.0.1", port)); held.append(one)
print("done", flush=True)
sys.stdin.readline()
"""
REFUSED = """
import os, socket, sys
uid, count, port = map(int, sys.argv[1:])
os.setuid(uid)
for _ in range(count):
    with socket.socket() as one:
        try: one.connect(("127.0.0.1", port))
        except ConnectionRefusedError: pass
print("done", flush=True)
sys.stdin.readline()
"""
# Its queue is full with one: later handshakes are not answered.
FULL_LISTENER = """
import socket, sys
one = socket.socket(); one.bind(("127.0.0.1", 0)); one.listen(0)
held = [socket.create_connection(one.getsockname())]
print(one.getsockname()[1], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def run(netns):
    """Start a program in the namespace and wait for the line that it prints."""
    started = []

    def start(script, *arguments):
        words = [*netns.command(user="root"), "/usr/bin/python3", "-c", script]
        started.append(spawn([*words, *map(str, arguments)]))
        said = started[-1].stdout.readline().decode().strip()
        assert said, started[-1].stderr.read().decode()
        return started[-1].pid, said

    yield start
    for one in started:
        end(one)


@pytest.fixture
def kernel_probe(start_probe):
    def start(*options):
        running = start_probe("--backend", "ebpf", "--loopback", *options, user="root")
        running.wait_ready()
        return running

    return start


def test_thousands_of_waits_hide_no_other_users(run, kernel_probe):
    """A bounded number of records, and in an interval those and what is left out are all."""
    running = kernel_probe("--interval", 1)
    _, port = run(FULL_LISTENER)
    crowd, _ = run(CONNECTING, NOBODY, CONNECTS, port)
    victim, _ = run(CONNECTING, 0, 1, port)

    def stalls(consumer, pid):
        return [r for r in consumer.records if r.event_type == "transport.drop" and r.pid == pid]

    def sums(consumer):
        """By interval: what was told of the crowd, and with what was left out."""
        told, happened = Counter(r.ts for r in stalls(consumer, crowd)), defaultdict(int)
        for r in consumer.records:
            if r.value.startswith("PROBE_LOST:") and r.net.get("uid") == NOBODY:
                happened[r.ts] += int(r.value.partition(":")[2])
        return {ts: (count, count + happened[ts]) for ts, count in told.items()}

    # All that wait, less the few that found room in the queue.
    running.wait_for(
        lambda c: any(CONNECTS - 2 <= all_ <= CONNECTS for _, all_ in sums(c).values()), 60
    )
    running.wait_for(lambda c: len(stalls(c, victim)) > 1, 60)
    consumer = running.stop()
    assert max(told for told, _ in sums(consumer).values()) <= OF_PROCESS


def test_thousands_of_refusals_are_added_up_to_the_last(run, kernel_probe):
    """Of one process by one peer; what another user is refused has a record for each socket."""
    running = kernel_probe("--interval", 1)
    crowd, _ = run(REFUSED, NOBODY, REFUSALS, 1)
    victim, _ = run(REFUSED, 0, 7, 1)

    def refused(consumer, pid):
        found = [r for r in consumer.records if r.event_type == "error.net" and r.pid == pid]
        return [(r, int(r.value.removeprefix("CONNECT_REFUSED:"))) for r in found]

    def count(consumer, pid):
        return sum(number for _, number in refused(consumer, pid))

    running.wait_for(lambda c: (count(c, crowd), count(c, victim)) == (REFUSALS, 7), 60)
    consumer = running.stop()
    assert (count(consumer, crowd), count(consumer, victim)) == (REFUSALS, 7)
    assert [number for _, number in refused(consumer, victim)] == [1] * 7
    in_interval = Counter(r.ts for r, _ in refused(consumer, crowd))
    assert max(in_interval.values()) <= 17  # sixteen sockets, and one sum
    summed = [(number, r.net["sockets"]) for r, number in refused(consumer, crowd) if number > 1]
    assert summed
    assert all(number == sockets for number, sockets in summed)
