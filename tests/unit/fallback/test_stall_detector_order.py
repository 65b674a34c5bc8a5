"""Who sent last, where both did within one scheduler tick: acknowledgements decide."""

from __future__ import annotations

import pytest
from support.fake_connection import NO_REPLY, RECEIVE, answered_once, waits


@pytest.mark.parametrize(
    ("pending", "out", "inward", "waiting"),
    [
        (False, 1, 1, False),  # asked and answered
        (False, 2, 1, False),  # maybe asked again, maybe with two segments
        (False, 7, 7, False),
        (True, 1, 1, True),  # answered and asked again
        (True, 1, 2, False),
        (True, 2, 2, False),  # maybe asked again, maybe with two segments that had two
    ],
)
def test_within_one_tick_the_segments_show_whose_turn_it_is(pending, out, inward, waiting):
    """Single ones keep the turn where it was; several may be of one request, or of two."""
    scene = answered_once(tick_ms=4)
    if pending:
        scene.tcp.at(44).send(53)
        scene.take_sample(48)
    tcp = scene.tcp.at(60)
    tcp.send(53 * out, segments=out).receive(13 * inward, segments=inward)
    scene.take_sample(64)
    assert scene.take_sample(300) == (waits(RECEIVE, 60, NO_REPLY) if waiting else None)


def test_within_one_tick_data_not_acknowledged_came_last():
    """What the peer has not acknowledged was sent after what it acknowledged."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(60).receive(13, segments=3).send(53, acked=False)
    scene.take_sample(64)
    scene.tcp.acked = scene.tcp.written
    assert scene.take_sample(300) == waits(RECEIVE, 60, NO_REPLY)


def test_within_one_tick_a_late_acknowledgement_shows_who_came_last():
    """A bare ACK 40 ms after the peer's data was for ours; the answer to a keepalive is not."""
    for late_ms, waiting in ((40, waits(RECEIVE, 60, NO_REPLY)), (1_000, None)):
        scene = answered_once(tick_ms=4)
        scene.tcp.at(60).receive(13, segments=3).send(53, acked=False)
        scene.tcp.at(60 + late_ms).acknowledge()
        scene.take_sample(64 + late_ms)
        assert scene.take_sample(1_300) == waiting


def test_within_one_tick_a_request_that_data_acknowledged_has_its_reply():
    """In two segments with one reply; and another ACK later acknowledges nothing."""
    for out in (1, 2):
        scene = answered_once(tick_ms=4)
        scene.tcp.at(60).send(53, segments=out, acked=False).receive(13, acks=True)
        scene.take_sample(64)
        scene.tcp.at(80).acknowledge()
        assert scene.take_sample(84) is None
        assert scene.take_sample(300) is None


@pytest.mark.parametrize(("out", "inward"), [(2, 1), (3, 2), (2, 2)])
@pytest.mark.parametrize("tick_ms", [1, 4])
def test_a_request_in_several_segments_has_its_reply(tick_ms, out, inward):
    """Linux acknowledges it before it replies, in the same tick; and so on for ever."""
    scene = answered_once(tick_ms=tick_ms)
    for begin_ms in range(2_000, 9_000, 1_000):
        scene.tcp.at(begin_ms).send(2_000, segments=out)
        scene.tcp.receive(1_009, segments=inward, acks=True)
        for later_ms in (10, 300, 900):
            assert scene.take_sample(begin_ms + later_ms) is None
    assert scene.connection.history.long_waits == 0


def test_one_acknowledgement_too_many_makes_a_stall_of_one_pause_only():
    """Of a window update, or of a segment that came twice, before the sample."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(1_000).send(53, acked=False).receive(1_009, acks=True)
    scene.tcp.at(1_012).acknowledge()
    scene.take_sample(1_030)
    for begin_ms in range(2_000, 7_000, 1_000):
        scene.tcp.at(begin_ms).send(53, acked=False).receive(1_009, acks=True)
        for later_ms in (2, 300, 900):
            assert scene.take_sample(begin_ms + later_ms) is None


@pytest.mark.parametrize("acked_after_ms", [0, 12, 40])
def test_a_client_that_asks_again_within_the_tick_of_its_reply_waits_each_time(acked_after_ms):
    """The peer acknowledges each request, at once or later, and replies after a second."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(1_000).send(53)
    scene.take_sample(1_010)
    for begin_ms in range(2_000, 7_000, 1_000):
        scene.tcp.at(begin_ms).receive(1_009, acks=True).send(53, acked=False)
        if acked_after_ms == 40:
            scene.take_sample(begin_ms + 20)
        scene.tcp.at(begin_ms + acked_after_ms).acknowledge()
        scene.take_sample(begin_ms + 44)
        assert scene.take_sample(begin_ms + 300) == waits(RECEIVE, begin_ms, NO_REPLY)


def test_the_later_tick_sent_last_whatever_the_segments():
    """Where the clock differs, it decides: a long reply in many segments finishes the turn."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(60).send(53, segments=5)
    scene.tcp.at(64).receive(13)
    scene.take_sample(68)
    assert scene.take_sample(296) is None
    scene.tcp.at(300).receive(13, segments=17)
    scene.tcp.at(304).send(53)
    scene.take_sample(308)
    assert scene.take_sample(500) == waits(RECEIVE, 304, NO_REPLY)
