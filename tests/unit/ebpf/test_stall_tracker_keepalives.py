"""A host that answers no keepalive, as the kernel's events show it."""

from __future__ import annotations

import pytest
from support.fake_kernel_events import ANSWERED, IN_RECV, NO_REPLY, entered, lasts

from xctl_probe.ebpf.abi import Evidence
from xctl_probe.events import Cause
from xctl_probe.stalls.peer_inspector import PeerState

KEEPALIVE = Cause.KEEPALIVE
SUBSCRIBED = IN_RECV | Evidence.KEEPALIVE


@pytest.fixture
def scene(monkeypatch):
    return entered(monkeypatch)


def unanswered(now_ms, count, seen=SUBSCRIBED, since_ms=None, **fields):
    """The span of a wait without a request shows nothing: it is always the stall length."""
    begin_ms = now_ms - 100 if since_ms is None else since_ms
    return lasts(now_ms, begin_ms, seen=seen, occurrences=count, **fields)


def test_a_subscriber_stalls_from_the_first_keepalive_on(scene):
    """One may be lost; the stall is over when the host answers, or the kernel gives up."""
    assert scene.drain(7_000, unanswered(7_000, 1)) == []
    assert scene.take_sample(unanswered(7_900, 1)) == []
    assert scene.take_sample(unanswered(8_050, 2)) == [("lasts", 1_050, KEEPALIVE)]
    assert scene.drain(8_100, unanswered(8_100, 2)) == [("lasts", 1_100, KEEPALIVE)]
    assert scene.drain(9_100, unanswered(9_100, 3)) == [("lasts", 2_100, KEEPALIVE)]
    assert scene.take_sample(unanswered(9_300, 3)) == [("lasts", 2_300, KEEPALIVE)]
    assert scene.take_sample() == []
    assert scene.drain(10_100) == [("over", 2_300, KEEPALIVE)]
    assert scene.drain(11_100) == []


def test_keepalives_that_were_answered_in_between_count_anew(scene):
    scene.drain(7_000, unanswered(7_000, 1))
    scene.take_sample()
    assert scene.drain(9_000, unanswered(9_000, 2)) == []
    assert scene.drain(9_100, unanswered(9_100, 2)) == [("lasts", 100, KEEPALIVE)]


def test_a_sample_that_is_not_whole_forgets_none(scene):
    """Of many waits only some are decided about."""
    scene.drain(7_000, unanswered(7_000, 1))
    scene.waits.observe([lasts(7_500, inode=11)], (), whole=False)
    assert scene.take_sample(unanswered(8_050, 2)) == [("lasts", 1_050, KEEPALIVE)]


@pytest.mark.parametrize(
    "seen", [Evidence.BLOCKED | Evidence.KEEPALIVE, Evidence.OPENED | Evidence.KEEPALIVE]
)
def test_who_does_not_wait_does_not_stall(scene, seen):
    """A server whose client is gone; an idle connection in a pool."""
    assert scene.drain(7_000, unanswered(7_000, 5, seen)) == []
    assert scene.drain(8_000, unanswered(8_000, 6, seen)) == []


def test_a_reply_wait_goes_on_with_another_cause(scene):
    assert scene.drain(1_150, lasts(1_150)) == [("lasts", 1_150, NO_REPLY)]
    dead = {"seen": IN_RECV, "since_ms": 0}
    assert scene.drain(3_150, unanswered(3_150, 2, **dead)) == [("lasts", 3_150, KEEPALIVE)]
    assert scene.drain(4_150, unanswered(4_150, 3, **dead)) == [("lasts", 4_150, KEEPALIVE)]
    assert scene.end(5_150) == ("over", 5_150, KEEPALIVE)
    assert scene.drain(6_150) == []


def test_an_expected_wait_is_one_no_more(scene):
    """The peer was in its loop; what counts is since when its host is gone."""
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    dead = {"seen": IN_RECV, "since_ms": 0}
    assert scene.drain(7_000, unanswered(7_000, 1, **dead)) == []
    assert scene.drain(8_100, unanswered(8_100, 2, **dead)) == [("lasts", 1_100, KEEPALIVE)]
    assert scene.end(9_100) == ("over", 2_100, KEEPALIVE)


def test_a_reply_that_comes_after_all_finishes_a_wait_for_a_reply(scene):
    """The host is back, and so is what the peer shows."""
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    dead = {"seen": IN_RECV, "since_ms": 0}
    scene.drain(7_000, unanswered(7_000, 1, **dead))
    scene.drain(8_100, unanswered(8_100, 2, **dead))
    assert scene.drain(9_100, lasts(9_100)) == [("over", 2_100, KEEPALIVE)]
    assert scene.end(9_500, seen=ANSWERED) is None


def test_who_asks_again_begins_another_wait(scene):
    """What was reported of the subscriber is over before its request is reported."""
    scene.drain(7_000, unanswered(7_000, 1))
    assert scene.drain(8_100, unanswered(8_100, 2)) == [("lasts", 1_100, KEEPALIVE)]
    reported = scene.drain(9_100, lasts(9_100, 8_900))
    assert reported == [("over", 2_100, KEEPALIVE), ("lasts", 200, NO_REPLY)]
