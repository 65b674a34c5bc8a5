"""Frames of HTTP/2 that ask for nothing."""

from __future__ import annotations

from support.kernel_watch import answered_once_seen

from xctl_probe.events import Cause


def test_the_first_request_after_the_settings_were_acknowledged(watch, peer):
    """Its length is that of the request, and not that since the acknowledgement."""
    seen = watch()
    ended = answered_once_seen(seen, peer("http2.first_request"))
    assert ended.cause is Cause.NO_REPLY


def test_who_has_acknowledged_the_settings_waits_for_nothing(watch, peer):
    seen = watch()
    one = peer("http2.idle")
    one.start()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)


def test_who_updates_the_window_after_a_download_waits_for_nothing(watch, peer):
    seen = watch()
    one = peer("http2.downloads")
    one.start()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)


def test_pings_of_both_sides_leave_a_wait_as_it_is(watch, peer):
    """Those of the server and of the client; gRPC sends them after each burst of data."""
    seen = watch()
    one = peer("http2.pinged")
    answered_once_seen(seen, one)
    seen.until(lambda: seen.received(one.pid) == seen.sent(one.pid))


def test_a_reply_of_the_size_of_a_ping_is_one(watch, peer):
    seen = watch()
    ended = answered_once_seen(seen, peer("http2.short_reply"))
    assert ended.cause is Cause.NO_REPLY


def test_who_pings_waits_for_nothing(watch, peer):
    """Nor where the last ping is not acknowledged."""
    seen = watch()
    one = peer("http2.pings")
    one.start()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)


def test_pings_leave_a_download_that_stops_as_it_is(watch, peer):
    answered_once_seen(watch(), peer("http2.download_stops"))


def test_requests_and_replies_of_the_size_of_a_ping_make_no_wait(watch, peer):
    seen = watch()
    one = peer("http2.short_messages")
    one.start()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)
