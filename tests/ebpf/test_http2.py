"""Frames of HTTP/2 that ask for nothing."""

from __future__ import annotations

from support.peer import is_within

from xctl_probe.events import Cause, Direction


def test_the_first_request_after_the_settings_were_acknowledged(watch, peer):
    """Its length is that of the request, and not that since the acknowledgement."""
    seen = watch()
    one = peer("http2.first_request")
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    bounds = one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    seen.drain()
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert (ended.direction, ended.cause) == (Direction.RECEIVE, Cause.NO_REPLY)
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)


def test_who_has_acknowledged_the_settings_waits_for_nothing(watch, peer):
    seen = watch()
    one = peer("http2.idle")
    one.start()
    seen.for_stall_lengths(15, peer("stalls.hangs_for_ever").pid)
    assert seen.stalls(one.pid) == []
