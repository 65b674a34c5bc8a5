"""Datagrams: queries without an answer, and sends that are held up."""

from __future__ import annotations

import pytest
from support.conversation import QUESTION
from support.waiting import stalls_once_shown


@pytest.mark.parametrize("way", ["alone", "epoll", "others"])
def test_waits_for_a_datagram(probe, worker, agrees, backend, way):
    """A query of an unconnected UDP socket that was never answered before."""
    running = probe()
    server, client = worker(), worker()
    port = server.ask("bind")["port"]
    client.begin("query", "127.0.0.1", port, QUESTION, way)
    inode = client.expect("asked")["inode"]
    seen = way == "alone" or (way == "epoll" and backend.sees("datagram_epoll"))
    shown = seen and backend.sees("datagram_waits")
    # 1.8 s: such a wait is reported after one.
    reported = stalls_once_shown(running, client.pid, shown, intervals=9)
    if way == "alone" or not backend.sees("datagram_waits"):
        agrees("datagram_waits", reported)
    elif way == "epoll":
        agrees("datagram_epoll", reported)
    else:
        agrees("shared_query", reported)
    assert {(r.entity_id, r.net["direction"]) for r in reported} <= {(f"socket-{inode}", "receive")}
    if reported:
        agrees("unconnected_query", {r.net["remote"] for r in reported} == {f"127.0.0.1:{port}"})


def test_datagrams_that_are_held_up(probe, worker, agrees, backend, make_netns, netns):
    """Behind a line of 16 kbit/s each send takes half a second, once the buffer is full."""
    distant = make_netns(beside=netns)
    here, _ = netns.join(distant)
    shaped = "rate 16kbit burst 1600 limit 1mb"
    netns.run("tc", "qdisc", "add", "dev", here, "root", "tbf", *shaped.split())
    running = probe()
    sender = worker()
    sender.begin("send_to", "10.23.29.2", 9, 1_009, 4_001)
    if backend.sees("datagram_sends"):
        running.wait_for(lambda c: c.stalls(pid=sender.pid))
    running.wait_for_intervals(9)
    reported = running.stop().stalls(pid=sender.pid)
    agrees("datagram_sends", reported)
    assert {(r.net["direction"], r.net["cause"]) for r in reported} <= {("send", "send_buffer")}
