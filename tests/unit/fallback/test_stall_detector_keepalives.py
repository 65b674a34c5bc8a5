"""A host that answers no keepalive: a stall of who waits for it, from the first of them on."""

from __future__ import annotations

import pytest
from support.fake_connection import (
    NO_REPLY,
    RECEIVE,
    STALL_MS,
    TID,
    Scene,
    answered_once,
    waits,
)
from support.tcp_model import MS, TIMER_KEEPALIVE, Tcp

from xctl_probe.events import Cause
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.request_history import RequestHistory

KEEPALIVE = Cause.KEEPALIVE


def unanswered(scene, count):
    scene.tcp.timer, scene.tcp.timer_retries = TIMER_KEEPALIVE, count


def heard(scene, now_ms):
    """The peer's host answers the next keepalive."""
    scene.tcp.at(now_ms).heard_ms = now_ms
    unanswered(scene, 0)


def test_a_subscriber_whose_peer_is_gone_stalls_from_the_first_keepalive_on():
    """It has asked for nothing; one keepalive may be lost."""
    scene = answered_once()
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(7_000) is None
    unanswered(scene, 1)
    assert scene.take_sample(7_060) is None
    assert scene.take_sample(8_050) is None
    unanswered(scene, 2)
    assert scene.take_sample(8_060) == waits(RECEIVE, 7_060, KEEPALIVE, TID)
    unanswered(scene, 3)
    assert scene.take_sample(9_060) == waits(RECEIVE, 7_060, KEEPALIVE, TID)
    heard(scene, 10_050)
    assert scene.take_sample(10_060) is None
    assert scene.stalls() == [(RECEIVE, 3_000, KEEPALIVE)]
    assert scene.idle


def test_who_does_not_wait_does_not_stall():
    """An idle connection in a pool, and a server whose client is gone."""
    scene, server = answered_once(), Scene(Tcp(opened=False))
    server.threads.receiving = Blocked(TID)
    for one in (scene, server):
        unanswered(one, 5)
        assert one.take_sample(7_000) is None
        assert one.take_sample(8_000) is None
    assert not scene.idle
    assert server.idle


def test_a_reply_that_stays_out_goes_on_with_another_cause():
    scene = answered_once()
    scene.tcp.at(53).send(53)
    assert scene.take_sample(1_000) == waits(RECEIVE, 53, NO_REPLY)
    unanswered(scene, 2)
    assert scene.take_sample(3_000) == waits(RECEIVE, 53, KEEPALIVE)
    assert scene.stalls() == []


@pytest.mark.parametrize("blocked", [Blocked(TID), None])
def test_a_wait_that_was_expected_is_one_no_more(blocked):
    """Answers of this peer take seconds; from a host that is gone none comes."""
    late = RequestHistory(answered=8)
    for end_ms in (5_000, 10_000, 15_000):
        late.record_latency(5_000 * MS, STALL_MS * MS, end_ms * MS)
    scene = answered_once(late)
    scene.other_end.shows = PeerState.UNKNOWN
    scene.threads.receiving = blocked
    scene.tcp.at(53).send(53)
    assert scene.take_sample(1_000) is None
    unanswered(scene, 1)
    assert scene.take_sample(2_000) is None
    unanswered(scene, 2)
    assert scene.take_sample(3_000) == waits(RECEIVE, 2_000, KEEPALIVE, blocked and TID)
