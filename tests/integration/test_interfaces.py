"""Interfaces that go away and come back, and one that is slower than who sends through it."""

from __future__ import annotations

import json
import os

import pytest

BYTES = 3_000_017
SLOW_BYTES = 300_007


def transfer(worker, local, elsewhere, count):
    """Over the veth pair; the sender's pid."""
    receiver, sender = worker(namespace=elsewhere), worker(namespace=local)
    port = receiver.ask("listen", "10.23.29.2")["port"]
    sender.connect("10.23.29.2", port)
    receiver.ask("accept")
    receiver.begin("recv", count)
    sender.ask("send", count)
    receiver.expect("recv")
    sender.ask("settle")
    return sender


def test_an_interface_that_is_made_again_begins_at_zero(probe, worker, make_netns, netns):
    """Its counters go back; what it carried is the sum of both lives, never less, never wild."""
    elsewhere = make_netns(beside=netns)
    here, _ = netns.join(elsewhere, number=97)
    running = probe("--min-bw", 0)
    first = transfer(worker, netns, elsewhere, BYTES)
    running.wait_for_intervals(3)
    netns.run("ip", "link", "delete", here)
    running.wait_for_intervals(3)
    gone_ts = running.consumer.records[-1].ts
    assert netns.join(elsewhere, number=97) == (here, "vb97")
    running.wait_for(lambda c: [r for r in c.interface_bandwidth(here) if r.ts > gone_ts])
    second = transfer(worker, netns, elsewhere, 2 * BYTES)
    running.wait_for_intervals(3)
    consumer = running.stop()
    reported = consumer.interface_bandwidth(here)
    # Besides the payload: headers, and what the kernel reports on a new link.
    assert 3 * BYTES < sum(r.net["tx_bytes"] for r in reported) < 3 * BYTES * 1.05
    assert min(r.net["rx_bytes"] for r in reported) >= 0
    assert sum(r.net["rx_bytes"] for r in reported) < BYTES
    # None while it was gone: a zero would mean that it is there.
    assert len({r.ts for r in reported}) < len({r.ts for r in consumer.interface_bandwidth("lo")})
    for sender, count in ((first, BYTES), (second, 2 * BYTES)):
        assert consumer.sent_bytes(sender.pid) == count


def test_a_path_slower_than_its_sender(probe, worker, make_netns, netns):
    """The receiver reads, nothing is lost: it is the sender's own buffer that is full."""
    elsewhere = make_netns(beside=netns)
    here, _ = netns.join(elsewhere)
    shaped = "rate 400kbit burst 5kb limit 1mb"
    netns.run("tc", "qdisc", "add", "dev", here, "root", "tbf", *shaped.split())
    running = probe()
    receiver, sender = worker(namespace=elsewhere), worker()
    port = receiver.ask("listen", "10.23.29.2")["port"]
    inode = sender.connect("10.23.29.2", port)["inode"]
    receiver.ask("accept")
    receiver.begin("drain")
    sender.begin("send", SLOW_BYTES)
    running.wait_for(lambda c: len(c.stalls(pid=sender.pid, ongoing=True)) >= 3)
    sender.expect("send")
    running.wait_for_intervals(3)
    stalls = running.stop().stalls(pid=sender.pid)
    assert {r.entity_id for r in stalls} == {f"socket-{inode}"}
    assert {r.net["direction"] for r in stalls} == {"send"}
    assert {r.net["cause"] for r in stalls} == {"send_buffer"}
    assert not stalls[-1].ongoing


@pytest.fixture
def counted(netns):
    """What an interface has sent so far, as the kernel has it."""

    def read(name):
        table = json.loads(netns.run("ip", "-json", "-statistics", "link", "show", "dev", name))
        return table[0]["stats64"]["tx"]["bytes"]

    return read


def sent_by(consumer, name):
    return sum(r.net["tx_bytes"] for r in consumer.interface_bandwidth(name))


def quiet(netns, elsewhere):
    """No neighbour discovery, which sends when it likes."""
    for side in (netns, elsewhere):
        for which in ("all", "default"):
            side.run("sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=1")


def test_an_interface_that_is_made_is_reported_from_its_first_byte(
    probe, worker, make_netns, netns, counted
):
    """It appears, moves all, and idles, between two records: the sum is its own counter."""
    elsewhere = make_netns(beside=netns)
    quiet(netns, elsewhere)
    running = probe("--min-bw", 0, interval=2)
    running.wait_for_intervals(1)
    here, _ = netns.join(elsewhere)
    transfer(worker, netns, elsewhere, BYTES)
    running.wait_for(lambda c: sent_by(c, here) == counted(here) > BYTES)
    # The neighbour may be asked for again by now (ARP).
    assert BYTES < sent_by(running.stop(), here) <= counted(here)


def test_a_renamed_interface_goes_on_under_its_new_name(probe, worker, make_netns, netns, counted):
    """It has its old name until then, and nothing is lost or reported twice."""
    elsewhere = make_netns(beside=netns)
    quiet(netns, elsewhere)
    here, _ = netns.join(elsewhere)
    before = counted(here)
    running = probe("--min-bw", 0, interval=2)
    transfer(worker, netns, elsewhere, BYTES)
    netns.run("ip", "link", "set", "dev", here, "name", "wan0")
    transfer(worker, netns, elsewhere, BYTES)
    running.wait_for(
        lambda c: sent_by(c, here) + sent_by(c, "wan0") == counted("wan0") - before > 2 * BYTES
    )
    assert sent_by(running.stop(), "wan0") > BYTES


@pytest.mark.parametrize("named", [False, True], ids=["all", "by its name"])
def test_an_interface_whose_name_is_not_utf8(probe, worker, make_netns, netns, named):
    """The kernel takes any bytes but a few; they come out as escapes, everywhere."""
    elsewhere = make_netns(beside=netns)
    here, _ = netns.join(elsewhere)
    odd, shown = b"a\xff\xfeb", r"a\xff\xfeb"
    netns.run("ip", "link", "set", "dev", here, "name", os.fsdecode(odd))
    running = probe("--min-bw", 0, *(["--interface", os.fsdecode(odd)] if named else []))
    sender = transfer(worker, netns, elsewhere, BYTES)
    running.wait_for_intervals(3)
    consumer = running.stop()
    assert {r.entity_id for r in consumer.process_bandwidth(sender.pid)} == {shown}
    assert consumer.sent_bytes(sender.pid) == BYTES
    assert sent_by(consumer, shown) > BYTES
