"""Multipath TCP: waits for a reply, and stalled sends."""

from __future__ import annotations

import time

import pytest
from support.conversation import ANSWER, connect, unanswered
from support.truth import bounds_ms

MORE_THAN_BUFFERS = 20_000_003


@pytest.fixture
def multipath(worker):
    """A server and a client of Multipath TCP."""
    pair = worker(), worker()
    for one in pair:
        if error := one.ask("use_multipath").get("error"):
            pytest.skip(f"this kernel has no Multipath TCP: {error}")
    return pair


def test_waits_for_a_reply_by_multipath_tcp(probe, multipath, agrees, backend):
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    running = probe()
    server, client = multipath
    connect(server, client)
    unanswered(server, client)
    if backend.sees("mptcp_receive_stalls"):
        running.wait_for(lambda c: c.stalls(pid=client.pid))
    running.wait_for_intervals(5)
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    least_ms, most_ms = bounds_ms(client.expect("ask") | {"released_ns": released_ns})
    running.wait_for_intervals(3)
    reported = running.stop().stalls(pid=client.pid)
    agrees("mptcp_receive_stalls", reported)
    if reported and not backend.per_interval:
        assert not reported[-1].ongoing
        slack_ms = backend.tolerance_ms(0.2)
        assert least_ms - slack_ms <= reported[-1].stall_ms <= most_ms + slack_ms


def test_stalled_sends_by_multipath_tcp(probe, multipath, agrees, backend):
    """Each source reports that one stalls; why, and for how long exactly, none."""
    running = probe()
    server, client = multipath
    connect(server, client)
    running.wait_for_intervals(2)
    client.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= 3)
    released_ns = time.monotonic_ns()
    server.begin("recv", MORE_THAN_BUFFERS)
    least_ms, most_ms = bounds_ms(client.expect("send") | {"released_ns": released_ns})
    running.wait_for_intervals(3)
    reported = running.stop().stalls(pid=client.pid)
    assert {r.net["direction"] for r in reported} == {"send"}
    slack_ms = backend.tolerance_ms(0.2)
    is_right = least_ms - slack_ms <= reported[-1].stall_ms <= most_ms + slack_ms
    in_time = not reported[-1].ongoing and is_right
    if not backend.per_interval:  # between two samples, a length may be right by chance
        agrees("mptcp_detail", in_time and {r.net["cause"] for r in reported} == {"peer_window"})
