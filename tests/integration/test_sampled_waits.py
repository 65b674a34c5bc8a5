"""What the sampler makes of senders that are held back, and of waits that no usual call shows."""

from __future__ import annotations

import pytest
from support.conversation import connected

BYTES_PER_S = 20_003  # a buffer full lasts longer than a reader is late
MORE_THAN_BUFFERS = 20_000_003


@pytest.fixture
def running(start_probe):
    """The sampler, as a user without privileges runs it."""
    started = start_probe("--backend", "proc", "--loopback", "--interval", 0.2, "--min-bw", 0)
    started.wait_ready()
    return started


@pytest.fixture
def pair(worker):
    """A receiver, a sender that is connected to it, and the port."""
    receiver, sender, identity = connected(worker)
    return receiver, sender, identity["port"]


def causes(consumer, sender):
    return [r.net["cause"] for r in consumer.stalls(pid=sender.pid)]


def test_a_process_in_close_waits_for_its_peer(running, pair):
    """SO_LINGER: no descriptor is left, and the thread stays in close() until all is read."""
    receiver, sender, _ = pair
    sender.ask("linger", 60)
    sent = sender.ask("fill")["bytes"]
    running.wait_for(lambda c: c.sent_bytes(sender.pid))  # else it has no owner when it closes
    sender.begin("close")
    running.wait_for(
        lambda c: [r for r in c.stalls(pid=sender.pid) if r.net["tid"] == sender.pid][2:]
    )
    assert receiver.ask("recv", sent)["bytes"] == sent
    sender.expect("close")
    running.wait_for(lambda c: c.stalls(pid=sender.pid, ongoing=False))
    reported = running.stop().stalls(pid=sender.pid)
    assert {r.net["direction"] for r in reported} == {"send"}
    assert {r.net["cause"] for r in reported} == {"peer_window"}
    assert [r.ongoing for r in reported].count(False) == 1


def test_a_sender_that_is_paced_is_not_held_up_by_its_peer(running, pair):
    """The peer reads all, its window is open: the sender asked for it (SO_MAX_PACING_RATE)."""
    receiver, sender, _ = pair
    sender.ask("pace", BYTES_PER_S)
    receiver.begin("drain")
    sender.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: len(c.stalls(pid=sender.pid, ongoing=True)) >= 3)
    assert {*causes(running.stop(), sender)} == {"pacing"}


def test_a_sender_whose_own_host_drops_is_not_held_up_by_its_peer(running, pair, netns):
    """A rule of the firewall at the output: nothing is in flight, and the window is open."""
    _, sender, port = pair
    netns.drop_outgoing(f"tcp dport {port}")
    sender.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: "local_drop" in causes(c, sender))
    assert {*causes(running.stop(), sender)} <= {None, "local_drop"}
