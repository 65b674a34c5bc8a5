"""Which waits are inspected, how often, and how many are remembered."""

from __future__ import annotations

import pytest
from support.reply_scene import MS, PORT, STALL_MS, Scene

from xctl_probe.linux.process_activity import Activity, OwnActivity
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory

# What the user excludes


@pytest.mark.parametrize("peer", ["10.0.0.11", f"10.0.0.11:{PORT}"])
def test_a_peer_that_was_declared_as_ignored_is_silent(peer):
    """Whatever it shows, and without an inspection."""
    scene = Scene(peer)
    assert scene.take_sample(100, PeerState.UNREAD) is None
    assert scene.end(200) is None
    assert len(scene.peer.asked) == 0


def test_another_port_of_it_is_not():
    assert Scene("10.0.0.11:6380").take_sample(100, PeerState.UNREAD) == 0


# What it costs


def test_a_wait_is_sampled_once_in_a_stall_s_length():
    """However often the source samples."""
    scene = Scene()
    for now_ms in range(100, 600, 25):
        scene.take_sample(now_ms, PeerState.WAITING_FOR_REQUEST)
    assert len(scene.peer.asked) == 5


def test_a_late_answer_is_asked_for_in_the_next_sample():
    """The helper has it by then; a stall length later it is of no use."""
    scene = Scene()
    scene.peer.late = True
    assert [scene.take_sample(ms, PeerState.UNKNOWN_ACTIVITY) for ms in (100, 125)] == [None, None]
    scene.peer.late = False
    assert scene.take_sample(150, PeerState.BUSY) == 0
    scene.take_sample(175)
    assert len(scene.peer.asked) == 3


def test_so_is_the_late_answer_about_the_process_itself():
    scene = Scene()
    scene.peer.own = OwnActivity(Activity.LATER)
    for now_ms in (100, 600, 625):
        scene.take_sample(now_ms, PeerState.BUSY)
    scene.peer.own = OwnActivity(Activity.WAITING_ON_SOCKET)
    scene.take_sample(650)
    scene.take_sample(675)
    assert len(scene.peer.asked) == 4


def test_of_many_late_answers_only_some_are_asked_for_at_once():
    scene = Scene()
    scene.peer.late = True
    for now_ms in (100, 125):
        scene.replies.begin_sample()
        for inode in range(1, 101):
            scene.replies.observe(scene.asked(inode), now_ms * MS)
    assert len(scene.peer.asked) == 100 + 32


def test_of_many_waits_only_some_are_sampled_at_once():
    """Thousands of workers that wait in one queue: at first 1,024 in a sample, then in turns."""
    scene = Scene(usual=RequestHistory())
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    workers = range(7_001)
    for number in range(40):
        before = len(scene.peer.asked)
        scene.replies.begin_sample()
        now_ms = 100 * (number + 1)
        reported = [scene.replies.observe(scene.asked(inode=c), now_ms * MS) for c in workers]
        assert reported == [None] * len(workers)
        assert len(scene.peer.asked) - before <= 2 * 1_024
    assert len(scene.peer.asked) >= 4 * len(workers)


def test_waits_that_are_over_do_not_delay_the_inspection_of_others():
    """The sampler closes none: thousands of connections have waited for a moment."""
    scene = Scene()
    scene.peer.shows = PeerState.BUSY
    for number in range(16):
        scene.replies.begin_sample()
        for inode in range(100 + number * 1_000, 100 + (number + 1) * 1_000):
            asked = scene.asked(inode, since_ms=20 * number)
            scene.replies.observe(asked, (20 * number + 100) * MS)
    scene.replies.begin_sample()
    scene.peer.asked.clear()
    for now_ms in (500, 600, 700):
        scene.take_sample(now_ms, PeerState.WAITING_FOR_REQUEST, since_ms=400)
    assert len(scene.peer.asked) == 3


def test_a_wait_that_its_end_closes_is_remembered_however_late_that_is():
    """A reply that came and is not read yet: no sample has the wait, and it was an expected one."""
    scene = Scene(usual=RequestHistory())
    for now_ms in (100, 300):
        assert scene.take_sample(now_ms, PeerState.UNKNOWN) is None
    for now_ms in range(400, 13_000, 100):
        scene.take_sample(now_ms, inode=8)
    assert scene.end(900) is None


def test_waits_that_no_sample_has_any_more_are_forgotten():
    """Of the sampler, which closes none."""
    scene = Scene()
    scene.replies = ReplyWaits(STALL_MS * MS, None, scene.peer, forget=True)
    scene.take_sample(100, PeerState.BUSY, inode=7)
    for now_ms in (200, 10_100):
        scene.take_sample(now_ms, inode=8)
    assert set(scene.replies._waits) == {7, 8}
    scene.take_sample(10_200, inode=8)
    scene.replies.begin_sample()
    assert set(scene.replies._waits) == {8}


def test_it_remembers_a_bounded_number_of_waits():
    """Those sampled last."""
    scene = Scene()
    for inode in range(16_411):
        scene.replies.observe(scene.asked(inode=inode), 100 * MS)
    assert len(scene.replies._waits) == 16_384
