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
