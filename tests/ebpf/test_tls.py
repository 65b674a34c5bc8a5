"""Session tickets of TLS 1.3 come unasked, often after the first request: they are no reply."""

from __future__ import annotations

import pytest
from support.kernel_watch import answered_once_seen
from support.require import require_tools

from xctl_probe.events import Cause

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
    ended = answered_once_seen(seen, one, earlier=handshake)
    assert ended.cause is Cause.NO_REPLY


def test_a_client_that_has_no_request_waits_for_nothing(watch, peer):
    require_tools("openssl")
    seen = watch()
    one = peer("tls.idle")
    one.start()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)
