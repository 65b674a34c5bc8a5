"""What one user's processes do in thousands: another user is reported still, and sums are exact.

Each attacker is an unprivileged user, and not that of other tests, which run at the same time on
this host; the victim is root.  They need root, and the kernel source.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack

import pytest
from support.namespace import FLOODER
from support.peer import Peer

CONNECTS, REFUSALS = 3_001, 2_003
OF_PROCESS = 256  # records of stalls in one interval


@pytest.fixture
def run(netns):
    """Start a peer in the namespace; it is past its first step."""
    with ExitStack() as stack:
        prefix = tuple(netns.command(user="root"))
        yield lambda *words: stack.enter_context(Peer(*words, prefix=prefix))


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
    port = run("floods.full_listener").first
    crowd = run("floods.connects", FLOODER, CONNECTS, port).pid
    victim = run("floods.connects", 0, 1, port).pid

    def stalls(consumer, pid):
        return [r for r in consumer.records if r.event_type == "transport.drop" and r.pid == pid]

    def sums(consumer):
        """By interval: what was reported of the crowd, and with what was left out."""
        reported, happened = Counter(r.ts for r in stalls(consumer, crowd)), defaultdict(int)
        for r in consumer.records:
            if r.value.startswith("PROBE_LOST:") and r.net.get("uid") == FLOODER:
                happened[r.ts] += int(r.value.partition(":")[2])
        return {ts: (count, count + happened[ts]) for ts, count in reported.items()}

    # All that wait, less the few that found room in the queue.
    running.wait_for(
        lambda c: any(CONNECTS - 2 <= all_ <= CONNECTS for _, all_ in sums(c).values()), 60
    )
    running.wait_for(lambda c: len(stalls(c, victim)) > 1, 60)
    consumer = running.stop()
    assert max(reported for reported, _ in sums(consumer).values()) <= OF_PROCESS


def test_thousands_of_refusals_are_added_up_to_the_last(run, kernel_probe):
    """Of one process by one peer; what another user is refused has a record for each socket."""
    running = kernel_probe("--interval", 1)
    crowd = run("floods.refused", FLOODER, REFUSALS, 1).pid
    victim = run("floods.refused", 0, 7, 1).pid

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
