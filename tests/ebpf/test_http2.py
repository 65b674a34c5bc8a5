"""Frames of HTTP/2 that ask for nothing."""

from __future__ import annotations

import pytest
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


CLEAR, TLS = 0, 22  # bytes that are added to each message


@pytest.mark.parametrize(
    ("more", "steps"),
    [
        # A reset or an update asks for nothing, and a ping follows.
        (CLEAR, "c13 c17 s17"),
        (CLEAR, "c100 s8192 c13 c13 c17 s17"),
        (CLEAR, "c100 s200 c9 c17 s17"),
        (CLEAR, "c100 s200 c30 s17 c52 s39"),
        # Replies of a ping's size: alone, after a ping that came with data, or before a request.
        (CLEAR, "c100 s17"),
        (CLEAR, "c100 s30"),
        (CLEAR, "c100 s217 c17 c100 s30"),
        (CLEAR, "p300 s17 c17 c100 s17"),
        (CLEAR, "p300 s17 c100 c17 s30"),
        (CLEAR, "c100 p60 s17"),
        (TLS, "c120 s39"),
        (TLS, "s239 c39 c120 s74"),
        (TLS, "s239 c39 c120 s39"),
        (TLS, "p300 s39 c120 c39 s74"),
        # A message of that size, and its reply, or an acknowledgement and a reply at once.
        (CLEAR, "c100 c17 s17"),
        (CLEAR, "c100 c17 s30"),
        (CLEAR, "c100 s200 c100 c100 c100 c39 c17 s17"),
        # One after the other.
        (CLEAR, " ".join(["c100", *["s17 c17"] * 50, "s17"])),
        (CLEAR, " ".join(["c100", *["s17 c17 p350"] * 4, "s17"])),
        (TLS, " ".join(["c100", *["c52 p350 s39"] * 4])),
    ],
)
def test_messages_of_the_size_of_a_ping_make_no_wait(watch, peer, more, steps):
    seen = watch()
    one = peer("http2.answered", more, *steps.split())
    one.start()
    seen.until(lambda: seen.sent(one.pid))
    hanging = peer("stalls.hangs_for_ever").pid
    seen.for_stall_lengths(15, hanging)
    before = len(seen.stalls(one.pid))  # of a slow step, on a busy host
    seen.for_stall_lengths(25, hanging)
    assert seen.stalls(one.pid)[before:] == []
