"""Lengths of the kernel's candidates that are reported, and that each is over once."""

from __future__ import annotations

import pytest
from support.fake_kernel_events import ELSEWHERE, IN_RECV, NO_REPLY, SEND, entered, lasts, record

from xctl_probe.ebpf.abi import Evidence, Kind
from xctl_probe.stalls.peer_inspector import PeerState


@pytest.fixture
def scene(monkeypatch):
    return entered(monkeypatch)


# From the beginning to the end


def test_a_wait_is_reported_while_it_lasts_and_once_when_it_is_over(scene):
    """Its own record reports the end, not the drain that does not find it any more."""
    assert scene.drain(150, lasts(150)) == [("lasts", 150, NO_REPLY)]
    assert scene.drain(1_150, lasts(1_150)) == [("lasts", 1_150, NO_REPLY)]
    assert scene.end(1_400) == ("over", 1_400, NO_REPLY)
    assert scene.drain(2_150) == []


def test_an_end_that_two_processors_find_at_once_is_one(scene):
    """The sample's is as early as the sample before."""
    scene.drain(697, lasts(697))
    assert scene.end(697) == ("over", 697, NO_REPLY)
    assert scene.end(702) is None
    assert scene.drain(1_150) == []
    assert scene.end(1_400, 800) == ("over", 600, NO_REPLY)


@pytest.mark.parametrize("after", [{"inode": 11}, {"direction": SEND}])
def test_what_ended_is_one_socket_s_wait_in_one_direction(scene, after):
    """The others go on."""
    other = lasts(150, **after)
    assert len(scene.drain(150, lasts(150), other)) == 2
    scene.end(400)
    assert len(scene.drain(1_150, lasts(1_150, **after))) == 1
    scene.end(1_400, **after)
    assert scene.drain(2_150) == []


def test_who_sends_on_finishes_what_was_reported_and_nothing_else(scene):
    """The next wait on the socket begins there; a wait that was not reported is over in silence."""
    assert scene.end(150, seen=IN_RECV | Evidence.SUPERSEDED) is None
    scene.drain(1_150, lasts(1_150, 1_003))
    sent_on = IN_RECV | Evidence.SUPERSEDED
    assert scene.end(1_400, 1_003, seen=sent_on) == ("over", 397, NO_REPLY)
    assert scene.drain(2_150, lasts(2_150, 1_400)) == [("lasts", 750, NO_REPLY)]
    assert scene.end(2_400, 1_400) == ("over", 1_000, NO_REPLY)


def test_an_answer_that_lies_unread_during_a_drain(scene):
    """The wait is in no sample then, and its end event is emitted as the process sends on."""
    scene.drain(150, lasts(150))
    assert scene.drain(1_150) == []
    assert scene.end(400, seen=IN_RECV | Evidence.SUPERSEDED) == ("over", 400, NO_REPLY)
    assert scene.drain(2_150) == []


def test_a_wait_whose_end_event_was_lost_does_not_end_with_the_next_one(scene):
    scene.drain(150, lasts(150))
    assert scene.drain(1_150) == []
    assert scene.end(1_550, 1_403, seen=IN_RECV | Evidence.SUPERSEDED) is None
    assert scene.drain(2_150) == []


def test_what_ended_does_not_end_again_with_the_next_wait_on_its_socket(scene):
    """To which the peer agrees."""
    scene.drain(150, lasts(150))
    scene.end(400)
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    assert scene.drain(1_150, lasts(1_150, 403)) == []
    assert scene.end(1_400, 403) is None


def test_a_sample_between_two_drains_leaves_the_report_to_them(scene):
    """What it finds is no end, nor does what it misses end anything."""
    scene.drain(150, lasts(150))
    assert scene.take_sample(lasts(400)) == [("lasts", 400, NO_REPLY)]
    assert scene.take_sample() == []
    assert scene.drain(1_150, lasts(1_150)) == [("lasts", 1_150, NO_REPLY)]


def agrees(scene, now_ms):
    """The peer is back in its loop, and waits for more at two samples in a row."""
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    return scene.take_sample(lasts(now_ms)), scene.take_sample(lasts(now_ms + 100))


def test_what_is_no_stall_any_more_is_over_with_the_sample_that_confirms_it(scene):
    """The peer has come back to its loop: the next drain reports it, and once only."""
    scene.drain(150, lasts(150))
    assert agrees(scene, 400) == ([("lasts", 400, NO_REPLY)], [])
    assert scene.drain(1_163, lasts(1_150)) == [("over", 500, NO_REPLY)]
    assert scene.drain(2_150, lasts(2_150)) == []
    assert scene.end(2_400) is None
    assert scene.drain(3_150) == []


def test_what_becomes_only_probable_is_over_too(scene):
    """The peer always replied soon: lines without what is probable end with the stall."""
    prompt = {"answered": 8}
    scene.drain(150, lasts(150, **prompt))
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    assert scene.take_sample(lasts(450, **prompt)) == [("lasts", 450, NO_REPLY)]
    assert scene.take_sample(lasts(600, **prompt)) == [("probably lasts", 600, NO_REPLY)]
    now = ("probably lasts", 700, NO_REPLY)
    assert scene.drain(700, lasts(700, **prompt)) == [("over", 600, NO_REPLY), now]
    assert scene.drain(800, lasts(800, **prompt)) == [("probably lasts", 800, NO_REPLY)]
    assert scene.end(900, **prompt) == ("probably over", 900, NO_REPLY)
    assert scene.drain(1_150) == []


def test_what_became_only_probable_is_over_also_where_the_wait_is_before_the_drain(scene):
    """Its last line has no `probable`, as those before it."""
    prompt = {"answered": 8}
    scene.drain(150, lasts(150, **prompt))
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    scene.take_sample(lasts(450, **prompt))
    assert scene.take_sample(lasts(600, **prompt)) == [("probably lasts", 600, NO_REPLY)]
    assert scene.end(650, **prompt) is None
    assert scene.drain(1_150) == [("over", 600, NO_REPLY)]
    assert scene.drain(2_150) == []


def test_who_asks_again_had_probably_waited(scene):
    """It makes no stall of what was none."""
    prompt = {"answered": 8}
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    assert scene.drain(600, lasts(600, **prompt)) == [("probably lasts", 600, NO_REPLY)]
    superseded = IN_RECV | Evidence.SUPERSEDED
    assert scene.end(700, seen=superseded, **prompt) == ("probably over", 700, NO_REPLY)


def test_it_does_so_before_a_record_of_its_own(scene):
    """That comes with the answer."""
    scene.drain(150, lasts(150))
    agrees(scene, 400)
    assert scene.end(700) is None
    assert scene.drain(1_150) == [("over", 500, NO_REPLY)]
    assert scene.drain(2_150) == []


@pytest.mark.parametrize("drained", [True, False])
def test_a_peer_that_has_just_answered_is_no_expected_wait(scene, drained):
    """It was back in its loop when the sample came to it; also where the answer lies unread."""
    scene.drain(150, lasts(150))
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    scene.take_sample(lasts(400))
    if drained:
        assert scene.drain(450) == []
    assert scene.end(403) == ("over", 403, NO_REPLY)
    assert scene.drain(1_150) == []


def test_what_is_a_stall_again_by_the_next_drain_has_ended_in_between(scene):
    """It never gets shorter without an end."""
    scene.drain(150, lasts(150))
    agrees(scene, 400)
    scene.peer.shows = PeerState.BUSY
    scene.take_sample(lasts(600))
    reported = [("over", 500, NO_REPLY), ("lasts", 550, NO_REPLY)]
    assert scene.drain(1_150, lasts(1_150)) == reported
    assert scene.end(1_400) == ("over", 800, NO_REPLY)


def test_a_wait_whose_evidence_is_gone_is_over_once(scene):
    """The thread has left its receive, and nothing else shows that an answer is expected."""
    scene.drain(150, lasts(150))
    quiet = {"seen": Evidence.OPENED}
    assert scene.drain(1_150, lasts(1_150, **quiet)) == [("over", 1_150, NO_REPLY)]
    assert scene.end(1_400, **quiet) is None


def test_a_stall_after_an_expected_wait_counts_from_the_sample_that_found_it(scene):
    """On from then it has its own length, while it lasts and when it is over."""
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    assert scene.drain(150, lasts(150)) == []
    scene.peer.shows = PeerState.BUSY
    assert scene.take_sample(lasts(5_200)) == []
    assert scene.take_sample(lasts(5_299)) == []
    assert scene.drain(5_300, lasts(5_300)) == [("lasts", 100, NO_REPLY)]
    assert scene.end(5_700) == ("over", 500, NO_REPLY)
    assert scene.drain(6_300) == []


def test_such_a_stall_is_over_with_its_own_length_too_when_it_is_expected_again(scene):
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    scene.drain(150, lasts(150))
    scene.peer.shows = PeerState.BUSY
    scene.take_sample(lasts(5_200))
    scene.drain(5_300, lasts(5_300))
    agrees(scene, 6_000)
    assert scene.drain(6_300, lasts(6_300)) == [("over", 900, NO_REPLY)]


def test_only_what_lasts_is_sampled(scene):
    """The iterator also writes what has moved."""
    assert scene.drain(150, record(Kind.RECEIVED, 150)) == []
    assert scene.peer.asked == []


def test_each_sample_reads_the_peers_anew(scene):
    """Once for all that waits: samples and drains, of every namespace."""
    scene.take_sample(lasts(150))
    scene.take_sample(lasts(250), lasts(250, inode=11))
    assert scene.peer.begun == 1
    scene.drain(350, lasts(350), lasts(350, netns=ELSEWHERE))
    scene.take_sample()
    assert scene.peer.begun == 4


def test_the_wait_that_began_last_is_decided_first(scene):
    """It may be that of a proxy which has forwarded the request of another one."""
    forwarded = lasts(250, 5, inode=11, seen=IN_RECV | Evidence.RETRANSMIT)
    scene.take_sample(lasts(250), forwarded)
    assert scene.peer.asked == [False, None]  # whether it was delivered


# Events of waits that are over


def test_a_wait_that_a_sample_saw_is_reported_by_what_it_saw(scene):
    """Though its peer listens again when the event comes."""
    scene.peer.listens = True
    scene.take_sample(lasts(120))
    assert scene.end(130) == ("over", 130, NO_REPLY)
    assert scene.end(390, 260) is None


def test_the_report_of_an_end_that_comes_after_a_sample_saw_the_wait(scene):
    """The ring is read after the sockets: what they showed is over, and no process is asked."""
    assert scene.end(131) == ("over", 131, NO_REPLY)
    assert scene.take_sample(lasts(130)) == []
    assert scene.peer.asked == []


def test_the_report_of_an_end_that_comes_during_a_drain(scene):
    """It was reported before: it is over once, and does not last."""
    scene.drain(150, lasts(150))
    assert scene.end(1_151) == ("over", 1_151, NO_REPLY)
    assert scene.drain(1_160, lasts(1_150)) == []
    assert scene.drain(2_150) == []


@pytest.mark.parametrize(("since_ms", "reported"), [(81, 0), (82, 1), (131, 1)])
def test_the_next_wait_on_the_socket_is_another(scene, since_ms, reported):
    """It began when the last one ended, to half a stall's length."""
    scene.end(132)
    assert len(scene.take_sample(lasts(250, since_ms))) == reported


@pytest.mark.parametrize("after", [{"inode": 11}, {"direction": SEND}])
def test_the_report_of_an_end_is_of_that_socket_and_direction(scene, after):
    scene.end(131)
    assert len(scene.take_sample(lasts(130, **after))) == 1


def test_the_report_of_an_end_is_kept_until_the_next_sample(scene):
    """It has no more to add after that, and would only pile up."""
    for inode in range(1, 24):
        scene.end(131, inode=inode)
    scene.take_sample()
    assert scene.waits._ended_ns == {}


@pytest.mark.parametrize(("listens", "reported"), [(True, None), (False, ("over", 131, NO_REPLY))])
def test_a_wait_that_no_sample_has_seen(scene, listens, reported):
    scene.peer.listens = listens
    assert scene.end(131) == reported
