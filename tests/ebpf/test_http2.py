"""Frames of HTTP/2 that ask for nothing."""

from __future__ import annotations

import pytest
from support.backends import IN_GUEST
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
REPLIED = "c100 s200 " * 12  # the server has replied to each request so far
ACKNOWLEDGED = "cK+100 s200 " + REPLIED  # its settings with the first of them
HOW = ("buffers",) if IN_GUEST else ("buffers", "vectors", "messages")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "steps",
    [
        REPLIED + "r100 sP cA p230 cP sA p50 sU cAP sPA",
        REPLIED + "r100 sPU cA p1100 sU sP cA p300 cP",
        REPLIED + "r40 sUP cA",  # a request that is as short
        REPLIED + "sP cA p300 cP sA p300 r100 cP sA p230 sPU cA",
        REPLIED + "c100 s200 sP r100 cA p300 sUU",
        ACKNOWLEDGED + "r100 sP cA p230 cP sA",
    ],
)
def test_frames_of_the_libraries_leave_a_wait_as_it_is(watch, peer, how, steps):
    """Pings and updates of both sides; gRPC sends them after each burst of data.

    A stall length that a busy host does not exceed between two of them.
    """
    seen = watch(stall_ns=1_000_000_000)
    one = peer("http2.asks", how, *steps.split())
    ended = answered_once_seen(seen, one)
    assert ended.cause is Cause.NO_REPLY


def reported_later(watch, peer, how, more, steps):
    """What is reported of the event loop that waits after these steps."""
    seen = watch()
    one = peer("http2.answered", how, more, *(REPLIED + steps).split())
    one.go()
    one.start()
    hanging = peer("stalls.hangs_for_ever").pid
    seen.for_stall_lengths(15, hanging)
    before = len(seen.stalls(one.pid))  # of a slow step, on a busy host
    seen.for_stall_lengths(25, hanging)
    return seen.stalls(one.pid)[before:]


@pytest.mark.parametrize(
    ("more", "steps"),
    [
        # No request: pings, an update, a reset.
        (CLEAR, "cP sA p230 sP cA p230 cP"),
        (CLEAR, "cU cP sA"),
        (CLEAR, "c100 s8192 cU cUU cP sA"),
        (CLEAR, "c100 s8192 cUUP sA"),
        (CLEAR, "c100 s8192 cUUUUUUP sA"),
        (CLEAR, "c100 cR cP sA"),
        (CLEAR, "c100 p230 cR cP sA p230 cPU"),
        (CLEAR, "c100 sP cAR"),
        (CLEAR, "c100+R cP sA"),
        (CLEAR, "c40+R"),
        (CLEAR, "c100 cR+100 sP cA s200"),
        (CLEAR, "c100 p230 cP sA sR"),
        # Data of a stream that goes on: no reply is due.
        (CLEAR, "cD100 sP cA"),
        (CLEAR, "c100 s200 cD30 sPU cA"),
        (CLEAR, "cD9000 p230 sU cD9000 p230 sU"),
        # Replies of the size of those frames: alone, or after some of them.
        (CLEAR, "c100 s17"),
        (CLEAR, "c100 s30"),
        (CLEAR, "c100 s13"),
        (CLEAR, "c100 p230 s17"),
        (CLEAR, "c100 sP cA s17"),
        (CLEAR, "c100 s217 c17 c100 s30"),
        (CLEAR, "p300 sP cA c100 s17"),
        (CLEAR, "p300 s17 c100 c17 s30"),
        (CLEAR, "c100 c17 sA s17"),
        (CLEAR, "c100 s200 c100 c100 c100 c39 c17 s17"),
        # One after the other.
        (CLEAR, " ".join(["c100", *["s17 c17"] * 50, "s17"])),
        (CLEAR, " ".join(["c100", *["s17 c17 p350"] * 4, "s17"])),
        # Their types are not readable.
        (TLS, "c120 s39"),
        (TLS, "s239 c39 c120 s74"),
        (TLS, "p300 s39 c120 c39 s74"),
        (TLS, " ".join(["c100", *["c52 p350 s39"] * 4])),
    ],
)
def test_no_wait_is_left_over(watch, peer, more, steps):
    """Of a reply that came, or of frames that ask for nothing."""
    assert reported_later(watch, peer, "messages", more, steps) == []


@pytest.mark.parametrize("how", HOW)
def test_a_wait_that_is_left_over_is_reported(watch, peer, how):
    assert reported_later(watch, peer, how, CLEAR, "c100 s200 c100 sP cA")


def test_a_request_that_is_given_up_late_has_waited_until_its_reply(watch, peer):
    """The process was late, and not the server."""
    seen = watch()
    one = peer("http2.answered", "buffers", CLEAR, *(REPLIED + "c100 S200 p1000 cR").split())
    one.go()
    seen.for_stall_lengths(15, peer("stalls.hangs_for_ever").pid)
    assert [stall for stall in seen.stalls(one.pid) if stall.duration_ns > 500_000_000] == []
