"""Which waits for an equal are reported: for who has not read, and along a chain of them."""

from __future__ import annotations

import pytest
from support.reply_scene import MS, STALL_MS, Scene

from xctl_probe.events import Process
from xctl_probe.stalls.peer_inspector import PeerState

EQUALS = {"symmetric": True, "client": False}


@pytest.mark.parametrize("shows", [found for found in PeerState if found is not PeerState.UNREAD])
def test_only_what_an_equal_has_not_read_is_a_wait_for_it(shows):
    """Either side may have sent last when both have finished a step."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.UNREAD, **EQUALS) == 0
    assert scene.take_sample(300, shows, **EQUALS) is None
    assert scene.end(500, **EQUALS) is None


def test_the_end_of_a_wait_for_an_equal():
    scene = Scene()
    assert scene.take_sample(100, PeerState.UNREAD, **EQUALS) == 0
    assert scene.end(250, **EQUALS) == 0


def test_a_wait_for_an_equal_that_no_sample_has_seen_is_none():
    assert Scene().end(900, **EQUALS) is None


def ring(scene, now_ms, *, unread):
    """Three ranks: the first waits for one that does not read, each other for the one before."""
    scene.replies.begin_sample()
    found = []
    for rank in (2, 1, 0):  # so that each hop takes a sample
        scene.peer.shows = PeerState.WAITING_FOR_REQUEST
        if rank == 0 and unread:
            scene.peer.shows = PeerState.UNREAD
        scene.peer.process = Process(500 + rank - 1, 1, "rank")
        asked = scene.asked(rank, Process(500 + rank, 1, "rank"), since_ms=30 * rank, **EQUALS)
        if scene.replies.observe(asked, now_ms * MS):
            found.append(rank)
    return sorted(found)


def test_who_waits_for_an_equal_that_is_stalled_itself_is_stalled():
    scene = Scene()
    assert ring(scene, 200, unread=True) == [0]
    assert ring(scene, 300, unread=True) == [0, 1]
    assert ring(scene, 400, unread=True) == [0, 1, 2]


def test_two_equals_do_not_keep_each_other_stalled():
    """The last one reads on, and no rank of the ring has sent since."""
    scene = Scene()
    for now_ms in range(200, 700, 100):
        ring(scene, now_ms, unread=True)
    now_ms = 700
    pair = [(10, 500, 501), (11, 501, 500)]  # socket, its owner, its peer
    stalled = [True, True]
    for _ in range(100):
        now_ms += 100
        scene.replies.begin_sample()
        stalled = []
        for inode, owner, peer in pair:
            scene.peer.shows = PeerState.WAITING_FOR_REQUEST
            scene.peer.process = Process(peer, 1, "rank")
            asked = scene.asked(inode, Process(owner, 1, "rank"), since_ms=20, **EQUALS)
            stalled.append(scene.replies.observe(asked, now_ms * MS) is not None)
        if now_ms < 1_000:  # meanwhile the first rank of the ring is stalled, and then it reads on
            ring(scene, now_ms, unread=True)
        else:
            ring(scene, now_ms, unread=False)
    assert stalled == [False, False]
    assert ring(scene, now_ms + 100, unread=False) == []


def late_rank(scene, now_ms, *, announced_ms, sent_ms=0):
    """One rank has announced itself to a third one, and another has sent it data; who waits."""
    scene.replies.begin_sample()
    found = []
    waits = {"other": (announced_ms, {"announced": True}), "last": (sent_ms, {})}
    for inode, (rank, (since_ms, more)) in enumerate(waits.items(), 10):
        scene.peer.shows = PeerState.WAITING_FOR_REQUEST
        scene.peer.process = Process(500, 1, "late")
        owner = Process(500 + inode, 1, rank)
        asked = scene.asked(inode, owner, since_ms=since_ms, **EQUALS, **more)
        if scene.replies.observe(asked, now_ms * MS):
            found.append(rank)
    return found


def test_who_sent_to_an_equal_that_keeps_another_waiting_is_stalled_by_it():
    scene = Scene()
    assert late_rank(scene, 200, announced_ms=30) == ["other"]
    assert late_rank(scene, 300, announced_ms=30) == ["other", "last"]


def test_who_sent_to_it_long_before_is_not():
    """In an earlier step."""
    scene = Scene()
    for now_ms in (400, 500, 600):
        assert late_rank(scene, now_ms, announced_ms=STALL_MS) == ["other"]


def test_an_equal_that_is_stalled_itself_keeps_none_waiting_by_its_silence():
    """It waits as they do: who waits for it is a hop further from the one that is late."""
    scene = Scene()
    for now_ms in (200, 300, 400):
        late_rank(scene, now_ms, announced_ms=30)
        asked = scene.asked(1, Process(500, 1, "late"), since_ms=20, announced=True, **EQUALS)
        scene.peer.process = Process(499, 1, "rank")
        scene.replies.observe(asked, now_ms * MS)
    state = scene.replies._waits[11]
    assert (state.stall is not None, state.hops) == (True, 1)
