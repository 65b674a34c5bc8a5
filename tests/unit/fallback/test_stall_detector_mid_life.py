"""Connections that were there before the first sample, or moved between two."""

from __future__ import annotations

import pytest
from support.fake_connection import NO_REPLY, RECEIVE, SEND, TID, Scene, waits
from support.tcp_model import Tcp

from xctl_probe.events import Cause
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.stalls.request_history import RequestHistory

# First sampled in mid-life


@pytest.mark.parametrize(("segments_in", "waiting"), [(7, False), (8, True), (50, True)])
def test_a_long_conversation_first_seen_in_mid_life_is_known_by_its_sums(segments_in, waiting):
    """Eight segments in, or half as many as out, make it one without having watched it."""
    tcp = Tcp().at(50).receive(1_009, segments=segments_in).at(61).send(53)
    scene = Scene(tcp.at(70))
    assert scene.take_sample(300) == (waits(RECEIVE, 61, NO_REPLY) if waiting else None)


def test_who_opened_a_connection_shows_later_where_its_first_sample_is_wrong():
    """Data was acknowledged between the kernel's two reads, as of a busy sender."""
    tcp = Tcp().at(50).send(53).at(60).receive(1_009)
    tcp.just_acked = 1_448
    scene = Scene(tcp.at(70))
    assert not scene.connection.opened
    tcp.just_acked = 0
    scene.take_sample(75)
    scene.tcp.at(80).send(53)
    scene.take_sample(90)
    assert scene.connection.opened
    assert scene.take_sample(200) == waits(RECEIVE, 80, NO_REPLY)


def test_many_more_segments_out_than_in_are_no_conversation():
    """A sender with a few answers is not taken for a client of request and reply."""
    tcp = Tcp().at(50).receive(1_009, segments=11).at(61).send(53, segments=100)
    scene = Scene(tcp.at(70))
    assert scene.take_sample(300) is None


def test_a_stall_that_began_before_the_first_sample_has_its_whole_length():
    """The kernel remembers when the request went out."""
    tcp = Tcp().at(50).receive(1_009, segments=11).at(61).send(53)
    scene = Scene(tcp.at(5_000))
    assert scene.connection.wait == waits(RECEIVE, 61, NO_REPLY)


def test_a_reply_before_the_first_sample_counts_as_an_answer():
    """First sampled after an exchange, the next request is expected to be answered."""
    tcp = Tcp().at(10).send(53).at(31).receive(13)
    scene = Scene(tcp.at(40))
    assert scene.connection.history == RequestHistory(1, 0)
    scene.tcp.at(53).send(53)
    scene.take_sample(60)
    assert scene.take_sample(160) == waits(RECEIVE, 53, NO_REPLY)


def test_a_whole_exchange_between_two_samples_counts_as_answered():
    """Asked and answered before the first sample: the next request is expected to be answered."""
    scene = Scene()
    scene.tcp.at(10).send(53)
    scene.tcp.at(13).receive(13)
    scene.take_sample(20)
    assert scene.connection.history == scene.connection.peer_history == RequestHistory(1, 0)


def test_a_sender_first_seen_in_mid_life_has_been_held_up_since_its_last_segment():
    """Data waits unsent and a thread is blocked: since what last went out, not since the sample."""
    tcp = Tcp().at(53).send(1_009)
    tcp.written += 1_013
    tcp.snd_wnd = 0
    scene = Scene(tcp.at(5_000))
    scene.threads.sending = Blocked(TID)
    assert scene.take_sample(5_001) == waits(SEND, 53, Cause.PEER_WINDOW, TID)
