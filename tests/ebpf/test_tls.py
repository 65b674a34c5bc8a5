"""Session tickets of TLS 1.3 come unasked, often after the first request: they are no reply."""

from __future__ import annotations

import pytest
from support.peer import is_within
from support.require import require_tools

from xctl_probe.events import Cause, Direction

CLIENTS = (
    ("first_request", 2),
    ("first_request", 1),
    ("first_request", 0),
    ("first_request_polled",),
    ("first_request_after_a_pause", 2),
    ("first_request_after_a_pause", 0),
    ("second_request",),
)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda words: "-".join(map(str, words)))
def test_a_request_over_tls(watch, peer, client):
    require_tools("openssl")
    seen = watch()
    name, *options = client
    one = peer(f"tls.{name}", *options)
    seen.drain()
    handshake = len(seen.stalls(one.pid, ongoing=False))
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    bounds = one.go()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=False)) > handshake)
    seen.drain()
    (ended,) = seen.stalls(one.pid, ongoing=False)[handshake:]
    assert (ended.direction, ended.cause) == (Direction.RECEIVE, Cause.NO_REPLY)
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)


def test_a_client_that_has_no_request_waits_for_nothing(watch, peer):
    require_tools("openssl")
    seen = watch()
    one = peer("tls.idle")
    one.start()
    seen.for_stall_lengths(15, peer("stalls.hangs_for_ever").pid)
    assert seen.stalls(one.pid) == []
