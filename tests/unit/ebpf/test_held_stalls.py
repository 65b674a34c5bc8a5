"""Waits of an event loop for another host that are over: the next drain decides."""

from __future__ import annotations

import pytest
from support.fake_kernel_events import (
    BEGAN_MS,
    MS,
    NO_REPLY,
    PORT,
    STALL_MS,
    entered,
    finished,
    lasts,
)

from xctl_probe.ebpf import held_stalls
from xctl_probe.ebpf.abi import Evidence
from xctl_probe.ebpf.held_stalls import HeldStalls
from xctl_probe.ebpf.peer_answers import DrainedAnswers
from xctl_probe.ebpf.reported_stall import ReportedStall
from xctl_probe.stalls.peer_inspector import PeerState

LOOP = {"seen": Evidence.OPENED | Evidence.DATA, "answered": 23}


@pytest.fixture
def scene(monkeypatch):
    scene = entered(monkeypatch, reply_ms=1_000)
    scene.peer.shows = PeerState.UNKNOWN
    return scene


def answer(at_ms, **fields):
    """Data that came on another connection to the peer of the wait."""
    return lasts(at_ms, cookie=11, inode=11, **fields)._replace(time_ns=(BEGAN_MS + at_ms) * MS)


@pytest.mark.parametrize("samples", [(), (200, 1_100)])
def test_it_is_a_stall_where_the_peer_answered_no_other_connection(scene, samples):
    """Nor will it be asked soon: its last answer there is old."""
    for now_ms in samples:
        scene.take_sample(lasts(now_ms, **LOOP))
    assert scene.end(1_300, **LOOP) is None
    assert scene.drain(2_000, received=[answer(-3_700)]) == [("over", 1_300, NO_REPLY)]
    assert scene.drain(3_000) == []


@pytest.mark.parametrize("samples", [(), (200, 1_100)])
@pytest.mark.parametrize("answered_ms", [-3_699, 51, 900, 1_700])
def test_it_is_an_expected_wait_where_the_peer_answered_another_one(scene, samples, answered_ms):
    for now_ms in samples:
        scene.take_sample(lasts(now_ms, **LOOP))
    assert scene.end(1_300, **LOOP) is None
    assert scene.drain(2_000, received=[answer(answered_ms)]) == []
    assert scene.drain(3_000) == []


@pytest.mark.parametrize("stranger", [{"pid": 5}, {"remote_port": PORT + 1}])
def test_the_answers_of_others_do_not_count(scene, stranger):
    scene.end(1_300, **LOOP)
    received = [answer(900, **stranger)]
    assert scene.drain(2_000, received=received) == [("over", 1_300, NO_REPLY)]


def test_an_end_during_a_drain_is_decided_by_the_next_one(scene):
    """This one was not asked about its process."""
    scene.begin_drain()
    scene.end(1_300, **LOOP)
    scene.waits.answers.note([])
    assert scene.waits.drain([], (), (BEGAN_MS + 1_300) * MS) == []
    assert scene.drain(2_000) == [("over", 1_300, NO_REPLY)]


def test_what_was_reported_while_it_lasted_is_over_at_once(scene):
    scene.take_sample(lasts(200, **LOOP))
    assert scene.drain(1_150, lasts(1_150, **LOOP)) == [("lasts", 1_150, NO_REPLY)]
    assert scene.end(1_300, **LOOP) == ("over", 1_300, NO_REPLY)
    assert scene.drain(2_000, received=[answer(1_250)]) == []


def test_what_lasts_is_reported_once_a_drain_was_asked(scene):
    """And once the last answer on another connection is old."""
    assert scene.drain(1_150, lasts(1_150, **LOOP), received=[answer(-1_000)]) == []
    assert scene.drain(3_999, lasts(3_999, **LOOP), received=[answer(-1_000)]) == []
    assert scene.drain(4_000, lasts(4_000, **LOOP)) == [("lasts", 4_000, NO_REPLY)]
    # The other connection gets no data either; what is reported goes on.
    other = {"cookie": 11, "inode": 11}
    scene.drain(5_000, lasts(5_000, **LOOP), lasts(5_000, 4_500, **LOOP | other))
    assert scene.drain(6_000, lasts(6_000, **LOOP)) == [("lasts", 6_000, NO_REPLY)]


OTHER = {"cookie": 11, "inode": 11}


def test_two_connections_that_wait_do_not_excuse_each_other(scene):
    """Nor does one whose reply is only slow make the other one late."""
    scene.take_sample(lasts(200, **LOOP))
    received = [answer(-100), answer(-100)._replace(cookie=0)]
    waits = lasts(1_150, **LOOP), lasts(1_150, 151, **LOOP | OTHER)
    assert scene.drain(1_150, *waits, received=received) == []
    waits = lasts(1_151, **LOOP), lasts(1_151, 151, **LOOP | OTHER)
    assert scene.drain(1_151, *waits) == [
        ("lasts", 1_000, NO_REPLY), ("lasts", 1_151, NO_REPLY)
    ]  # fmt: skip


def test_a_peer_that_returns_does_not_excuse_its_silence(scene):
    """Both are over at the same time, and each is answered after the other has begun."""
    assert scene.end(1_300, **LOOP) is None
    assert scene.end(1_399, 40, **LOOP | OTHER) is None
    received = [answer(1_500), answer(1_300)._replace(cookie=0)]
    found = scene.drain(2_000, received=received)
    assert found == [("over", 1_300, NO_REPLY), ("over", 1_359, NO_REPLY)]


def test_nor_does_one_that_was_reported_while_it_lasted(scene):
    scene.take_sample(lasts(200, **LOOP))
    assert scene.drain(1_150, lasts(1_150, **LOOP)) == [("lasts", 1_150, NO_REPLY)]
    assert scene.end(1_500, **LOOP) == ("over", 1_500, NO_REPLY)
    assert scene.end(1_505, 300, **LOOP | OTHER) is None
    received = [answer(1_505), answer(1_500)._replace(cookie=0)]
    assert scene.drain(2_000, received=received) == [("over", 1_205, NO_REPLY)]


def test_a_wait_that_a_drain_found_expected_stays_one(scene):
    """Though its peer is late on the other connection as well, and both are over together."""
    scene.take_sample(lasts(200, **LOOP))
    assert scene.drain(2_000, lasts(2_000, **LOOP), received=[answer(1_900)]) == []
    scene.end(3_320, **LOOP)
    scene.end(3_300, 2_100, **LOOP | OTHER)
    found = scene.drain(4_000, received=[answer(3_300), answer(3_320)._replace(cookie=0)])
    assert found == [("over", 1_200, NO_REPLY)]


def test_two_waits_that_are_over_one_after_the_other_are_expected(scene):
    scene.end(1_300, **LOOP)
    scene.end(1_400, 40, **LOOP | OTHER)
    received = [answer(1_400), answer(1_300)._replace(cookie=0)]
    assert scene.drain(2_000, received=received) == []


def test_a_stall_that_a_sample_has_closed_is_over_once_more_with_its_end(scene):
    """It was reported, so its end is not held."""
    scene.take_sample(lasts(200, **LOOP))
    assert scene.drain(1_150, lasts(1_150, **LOOP)) == [("lasts", 1_150, NO_REPLY)]
    scene.peer.shows = PeerState.HIDDEN
    scene.take_sample(lasts(1_250, **LOOP))
    scene.peer.shows = PeerState.UNKNOWN
    scene.take_sample(lasts(1_350, **LOOP))
    assert scene.end(2_400, **LOOP) == ("over", 1_050, NO_REPLY)
    assert scene.drain(3_000, received=[answer(2_450)]) == []


def test_a_sample_between_two_drains_does_not_know_the_last_answers(scene):
    """The drain does: an answer every two seconds, of which the first drain has one."""
    scene.take_sample(lasts(200, **LOOP))
    assert scene.drain(900, lasts(900, **LOOP), received=[answer(-1_000)]) == []
    scene.take_sample(lasts(4_300, **LOOP))
    assert scene.drain(4_400, lasts(4_400, **LOOP), received=[answer(3_000)]) == []
    assert scene.end(4_500, **LOOP) is None
    assert scene.drain(5_000) == []


def test_a_thread_in_a_receive_is_decided_at_once(scene):
    assert scene.end(1_300) == ("over", 1_300, NO_REPLY)


class Asked:
    """As `AskedProcesses`, with room for all."""

    def ask(self, pids):
        return pids


def test_what_finds_no_room_is_counted_by_user(monkeypatch):
    """One user takes half of what is left, so there is always some for the next."""
    monkeypatch.setattr(held_stalls, "_MOST", 8)
    answers = DrainedAnswers(STALL_MS * MS)
    held = HeldStalls(answers, STALL_MS * MS)
    for uid in (1, 1, 1, 1, 1, 1, 2):
        held.hold(ReportedStall(finished(1_300, uid=uid, **LOOP), NO_REPLY))
    assert held.left_out == {1: 2}
    answers.ask(Asked())
    answers.note([])
    assert [stall.record.uid for stall in held.decided()] == [1, 1, 1, 1, 2]
    assert held.decided() == []
    held.hold(ReportedStall(finished(1_300, uid=1, **LOOP), NO_REPLY))
    assert held.left_out == {1: 2}
