"""A reply that stays out is a stall: from the request to the reply, to the ms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_connection import (
    NO_REPLY,
    RECEIVE,
    TID,
    Scene,
    answered_once,
    conversation,
    waits,
)
from support.tcp_model import MS

from xctl_probe.events import Cause
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.request_history import RequestHistory

# Requests and replies


def test_a_reply_that_stays_out_is_a_stall_from_the_request_on():
    """After one answered exchange the next request waits: known to the ms at both sockets."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    assert scene.take_sample(60) is None
    assert scene.take_sample(152) is None
    assert scene.take_sample(153) == waits(RECEIVE, 53, NO_REPLY)
    assert scene.take_sample(400) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.at(462).receive(13)
    assert scene.take_sample(479) is None
    assert scene.stalls() == [(RECEIVE, 409, NO_REPLY)]
    assert scene.take_sample(2_000) is None
    assert scene.stalls() == []


def test_a_wait_shorter_than_the_threshold_is_none():
    """A reply 99 ms after its request leaves nothing, though the next sample is late."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.take_sample(100)
    scene.tcp.at(152).receive(13)
    assert scene.take_sample(700) is None
    assert scene.stalls() == []


def test_a_first_request_waits_only_when_a_thread_is_blocked_for_its_reply():
    """Without a past the thread decides; and without a thread there is no stall."""
    scene = Scene()
    scene.tcp.at(10).send(53)
    assert scene.take_sample(1_009) is None
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(1_013) == waits(RECEIVE, 10, NO_REPLY, TID)
    scene.tcp.at(1_019).receive(1)
    assert scene.take_sample(1_021) is None
    assert scene.stalls() == [(RECEIVE, 1_009, NO_REPLY)]


def test_a_request_in_pieces_awaits_its_answer_since_the_last():
    """What follows soon belongs to it: who produces a long one slowly is not kept waiting."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.take_sample(60)
    scene.tcp.at(71).send(53)
    scene.take_sample(80)
    assert scene.take_sample(170) is None
    assert scene.take_sample(171) == waits(RECEIVE, 71, NO_REPLY)


def busy_sender(count):
    """A client that was answered often, then sends in each 50 ms, sampled once in 600."""
    scene = conversation(96)
    found = []
    for ms in range(10_000, 13_000, 50):
        scene.tcp.at(ms).send(count)
        if ms % 600 == 0:
            found.append(scene.take_sample(ms + 10))
    return scene, found


def test_pieces_between_two_samples_of_a_busy_host_are_one_request():
    scene, found = busy_sender(1_009)
    assert found == [None] * 5
    assert scene.take_sample(13_040) is None
    assert scene.take_sample(13_050) == waits(RECEIVE, 12_950, NO_REPLY)


def test_pings_between_two_samples_of_a_busy_host_are_no_pieces():
    """Of a client that waits meanwhile."""
    _, found = busy_sender(23)
    assert found[1:] == [waits(RECEIVE, 10_200, NO_REPLY)] * 4


def test_a_steady_client_that_asks_again_is_in_the_same_stall():
    """After eight exchanges, asking once more neither finishes the stall nor restarts it.

    Who goes on and on without an answer has become a one-way sender, after a long handshake.
    """
    scene = conversation(8)
    scene.tcp.at(1_000).send(53)
    assert scene.take_sample(1_103) == waits(RECEIVE, 1_000, NO_REPLY)
    scene.tcp.at(1_300).send(53)
    assert scene.take_sample(1_310) == waits(RECEIVE, 1_000, NO_REPLY)
    assert scene.stalls() == []
    scene.tcp.at(1_500).send(53)
    assert scene.take_sample(1_510) is None
    assert scene.connection.history == RequestHistory(8, 2)


def test_a_young_client_that_sends_on_may_be_a_log_sender():
    """After one answer, sending on without another leaves it open: the stall is over there."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    assert scene.take_sample(160) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.at(300).send(53)
    assert scene.take_sample(310) is None
    assert scene.stalls() == [(RECEIVE, 257, NO_REPLY)]
    assert scene.take_sample(3_000) is None


@pytest.mark.parametrize("sample_ms", [463, 479, 559, 700])
def test_an_answered_wait_followed_by_another_gives_two_stalls(sample_ms):
    """Reply and next request between two samples: the first is over exactly, the second begins."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.take_sample(200)
    scene.tcp.at(461).receive(13)
    scene.tcp.at(462).send(53)
    scene.take_sample(sample_ms)
    assert scene.stalls() == [(RECEIVE, 408, NO_REPLY)]
    assert scene.take_sample(701) == waits(RECEIVE, 462, NO_REPLY)
    scene.tcp.at(811).receive(13)
    assert scene.take_sample(823) is None
    assert scene.stalls() == [(RECEIVE, 349, NO_REPLY)]


def test_the_coarse_clock_moves_a_stall_by_less_than_a_tick():
    """With a tick of 4 ms the length is within one of the truth."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(53).send(53)
    scene.take_sample(200)
    scene.tcp.at(462).receive(13)
    scene.take_sample(479)
    ((_, duration_ms, _),) = scene.stalls()
    assert abs(duration_ms - 409) < 4


# Pings of the peer


@pytest.mark.parametrize("between_ms", [0, 30])
def test_the_pong_to_a_ping_asks_for_nothing(between_ms):
    """In one sample, or in two; the next ping is not its answer."""
    scene = answered_once()
    for second in range(1, 5):
        begin_ms = 1_000 * second
        scene.tcp.at(begin_ms).receive(7)
        if between_ms:
            scene.take_sample(begin_ms + 10)
        scene.tcp.at(begin_ms + between_ms).send(7)
        scene.tcp.at(begin_ms + between_ms + 10).acknowledge()
        for later_ms in (45, 300, 960):
            assert scene.take_sample(begin_ms + later_ms) is None
    assert scene.connection.history.unanswered == 0


def test_within_one_tick_a_pong_is_one_too():
    """Which came last shows when the peer acknowledges the pong."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(1_000).receive(7).send(7)
    scene.take_sample(1_010)
    scene.tcp.at(1_040).acknowledge()
    scene.take_sample(1_050)
    assert scene.take_sample(2_000) is None


def test_pongs_between_two_samples_ask_for_nothing():
    """A busy host samples rarely."""
    scene = answered_once()
    for begin_ms in (1_000, 1_700, 2_400):
        scene.tcp.at(begin_ms).receive(7)
        scene.tcp.at(begin_ms + 1).send(11).acknowledge()
    for now_ms in (2_450, 2_550, 3_050):
        assert scene.take_sample(now_ms) is None
    scene.tcp.at(3_100).receive(7)
    assert scene.take_sample(3_300) is None


def test_a_pong_that_is_acknowledged_late_asks_for_nothing():
    """Within one tick, and after more than a stall length."""
    scene = answered_once()
    scene.tcp.at(1_000).receive(7).send(7)
    scene.take_sample(1_010)
    scene.take_sample(1_110)
    scene.tcp.at(1_130).acknowledge()
    for now_ms in (1_140, 1_300, 1_700):
        assert scene.take_sample(now_ms) is None


@pytest.mark.parametrize("between_ms", [130, 260])
def test_a_ping_that_lies_unread_on_a_busy_host_is_no_older_for_that(between_ms):
    scene = answered_once()
    for begin_ms in (1_000, 2_000, 3_000):
        scene.tcp.at(begin_ms).receive(7).rqueue = 7
        for later_ms in range(10, between_ms, 50):
            assert scene.take_sample(begin_ms + later_ms) is None
        scene.tcp.at(begin_ms + between_ms).send(11).rqueue = 0
        for later_ms in (between_ms + 5, 500, 900):
            assert scene.take_sample(begin_ms + later_ms) is None


def test_a_late_pong_between_two_samples_of_a_busy_host_asks_for_nothing():
    scene = answered_once()
    scene.take_sample(900)
    scene.tcp.at(1_000).receive(7).at(1_150).send(11)
    for now_ms in (1_160, 1_600, 1_900):
        assert scene.take_sample(now_ms) is None


def test_a_sample_between_a_ping_and_its_pong_that_has_the_ping_before_as_well():
    scene = answered_once()
    scene.take_sample(900)
    scene.tcp.at(1_000).receive(7).at(1_001).send(11).at(1_700).receive(7)
    assert scene.take_sample(1_700) is None
    scene.tcp.at(1_702).send(11)
    for now_ms in (1_710, 2_000, 2_400):
        assert scene.take_sample(now_ms) is None


@pytest.mark.parametrize(("came", "went", "soon_ms"), [(7, 53, 1), (53, 7, 1), (7, 7, 101)])
def test_a_request_is_larger_or_later_than_a_pong(came, went, soon_ms):
    scene = answered_once()
    scene.tcp.at(1_000).receive(came)
    scene.take_sample(1_000)
    scene.tcp.at(1_000 + soon_ms).send(went)
    scene.take_sample(1_000 + soon_ms)
    assert scene.take_sample(2_300) == waits(RECEIVE, 1_000 + soon_ms, NO_REPLY)


# What another connection to the same endpoint has shown


def test_another_connection_to_the_same_endpoint_is_evidence():
    """A pool's new connection waits for its first reply as the others did."""
    peer = RequestHistory()
    answered_once(peer)
    assert peer == RequestHistory(1, 0)
    scene = Scene(peer=peer)
    scene.tcp.at(10).send(53)
    scene.take_sample(20)
    assert scene.take_sample(110) == waits(RECEIVE, 10, NO_REPLY)


def test_an_endpoint_that_mostly_does_not_answer_is_no_evidence():
    """Where sends to it go on unanswered, a new connection is not decided by one answer."""
    scene = Scene(peer=RequestHistory(answered=7, unanswered=1))
    scene.tcp.at(10).send(53)
    scene.take_sample(20)
    assert scene.take_sample(3_000) is None


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("delivered", NO_REPLY),
        ("lost", Cause.LOSS),
        ("on its way", None),
        ("held", Cause.PEER_WINDOW),
        ("corked", None),
    ],
)
def test_the_cause_of_a_missing_reply(script, cause):
    """Delivered, lost, on its way or held back by the peer's window: each is reported apart."""
    scene = answered_once()
    scene.tcp.at(53).send(53, acked=script == "delivered")
    if script == "lost":
        scene.tcp.retransmits = 1
    if script == "held":
        scene.tcp.snd_wnd = 0
    if script in ("held", "corked"):
        scene.tcp.acked, scene.tcp.written = scene.tcp.transmitted, scene.tcp.written + 1_009
    scene.take_sample(60)
    assert scene.take_sample(160) == waits(RECEIVE, 53, cause)


def test_a_request_that_arrives_at_last_was_held_up_by_what_held_it():
    """Until the peer has had it for half of the wait: then it is the peer that is late."""
    scene = answered_once()
    scene.tcp.at(53).send(53, acked=False)
    scene.tcp.retransmits = 1
    scene.take_sample(60)
    assert scene.take_sample(1_000) == waits(RECEIVE, 53, Cause.LOSS)
    scene.tcp.at(1_053).acknowledge()
    scene.tcp.retransmits = 0
    assert scene.take_sample(1_060) == waits(RECEIVE, 53, Cause.LOSS)
    assert scene.take_sample(2_052) == waits(RECEIVE, 53, Cause.LOSS)
    assert scene.take_sample(2_054) == waits(RECEIVE, 53, NO_REPLY)


# Who only sends


def upload(pieces, *, listening=False):
    """A client that writes a piece every 250 ms, without answers; the last at 250 * pieces."""
    scene = Scene()
    scene.threads.receiving = Blocked(TID) if listening else None
    for n in range(1, pieces + 1):
        scene.tcp.at(n * 250).send(1_009)
        scene.take_sample(n * 250 + 10)
        if n < pieces:
            scene.take_sample(n * 250 + 200)
    assert scene.connection.history == RequestHistory(0, pieces - 1)
    scene.stalls()
    return scene


def test_a_wait_for_the_answer_follows_an_upload_in_pieces():
    """Its thread sits in a receive now, and in none while it wrote."""
    scene = upload(7)
    assert scene.take_sample(1_870) is None
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(2_000) == waits(RECEIVE, 1_750, NO_REPLY, TID)
    scene.tcp.at(2_011).receive(13)
    assert scene.take_sample(2_020) is None
    assert scene.stalls() == [(RECEIVE, 261, NO_REPLY)]


def test_who_listens_beside_its_sends_waits_for_nothing():
    """A subscriber that pings: its thread is always in a receive."""
    scene = upload(7, listening=True)
    assert scene.take_sample(9_000) is None


def test_who_only_sends_is_asked_about_ever_less_often():
    """A log sender may stay so for days, and a read of its threads is dear."""
    scene = upload(7)
    asked = scene.threads.asked
    for now_ms in range(2_000, 100_000, 50):
        assert scene.take_sample(now_ms) is None
    assert 0 < scene.threads.asked - asked < 12


# What is usual with a peer


def test_late_answers_teach_what_is_usual_with_the_peer():
    """Three waits of a second and more; then twice the longest is silent, and no more."""
    scene = conversation(8)
    scene.other_end.shows = PeerState.UNKNOWN
    now_ms = 1_000
    for wait_ms in (1_000, 1_500, 1_200):
        scene.tcp.at(now_ms).send(53)
        scene.take_sample(now_ms + 3)
        assert scene.take_sample(now_ms + 500) == waits(RECEIVE, now_ms, NO_REPLY)
        scene.tcp.at(now_ms + wait_ms).receive(13)
        scene.take_sample(now_ms + wait_ms + 3)
        scene.tcp.at(now_ms + 1_900).send(53)
        scene.tcp.at(now_ms + 1_903).receive(13)  # a prompt one
        scene.take_sample(now_ms + 1_910)
        now_ms += 2_000
    assert (scene.peer.long_waits, scene.peer.longest_ns) == (3, 1_500 * MS)
    scene.stalls()
    scene.tcp.at(now_ms).send(53)
    scene.take_sample(now_ms + 3)
    assert scene.take_sample(now_ms + 3_000) is None
    assert scene.take_sample(now_ms + 3_001) == waits(RECEIVE, now_ms, NO_REPLY)
    scene.tcp.at(now_ms + 3_500).receive(13)
    scene.take_sample(now_ms + 3_503)
    assert scene.stalls() == [(RECEIVE, 3_500, NO_REPLY)]


def test_a_request_that_was_lost_teaches_nothing():
    """It was late because of the network, not of the peer."""
    peer = RequestHistory()
    scene = answered_once(peer)
    scene.tcp.at(1_000).send(53, acked=False)
    scene.take_sample(1_003)
    scene.tcp.at(3_000).acknowledge().receive(13)
    scene.take_sample(3_003)
    assert peer.long_waits == 0


def test_a_long_request_that_is_still_being_written_awaits_no_reply():
    """Its first part is on its way for long; the process is busy with the rest."""
    scene = answered_once()
    scene.tcp.at(53).send(1_009, acked=False)
    scene.take_sample(60)
    for now_ms in (110, 160, 210):
        scene.tcp.at(now_ms).written += 1_013
        assert scene.take_sample(now_ms + 10) is None
    assert scene.take_sample(319) is None
    assert scene.take_sample(320) == waits(RECEIVE, 220, None)


def exchanges(messages, size, times=11, **kind):
    """So many messages of so many bytes for each reply; a sample finds a whole exchange."""
    scene = Scene(**kind)
    for number in range(times):
        scene.tcp.at(number * 50 + 10)
        for _ in range(messages):
            scene.tcp.send(size)
        scene.tcp.at(number * 50 + 20).receive(29)
        assert scene.take_sample(number * 50 + 45) is None
    scene.tcp.at(1_000).send(size)
    return scene


def test_a_stall_is_over_when_it_becomes_only_probable():
    """The peer turned to its event loop without a reply: lines without what is probable end it."""
    scene = exchanges(1, 53, probable=True)
    assert scene.take_sample(1_200) == waits(RECEIVE, 1_000, NO_REPLY)
    scene.other_end.shows = PeerState.WAITING_FOR_REQUEST
    assert scene.take_sample(1_600) == waits(RECEIVE, 1_000, NO_REPLY)
    assert scene.take_sample(1_700) == replace(waits(RECEIVE, 1_000, NO_REPLY), probable=True)
    (over,) = scene.connection.ended
    assert (over.ongoing, over.probable, over.duration_ns) == (False, False, 700 * MS)


def test_who_sends_more_messages_than_come_may_expect_no_reply_to_the_last():
    """Unless a thread is in a receive, or they are the segments of large requests."""
    scene = exchanges(2, 53)
    scene.other_end.shows = PeerState.UNKNOWN
    assert scene.take_sample(1_700) is None
    scene.threads.receiving = Blocked(TID)
    assert exchanges(1, 53).take_sample(1_700) == waits(RECEIVE, 1_000, NO_REPLY)
    assert exchanges(2, 1_448).take_sample(1_700) == waits(RECEIVE, 1_000, NO_REPLY)
