"""Which transfers to an event loop broke off, and which are complete."""

from __future__ import annotations

import pytest
from support.reply_scene import SERVER, Scene

from xctl_probe.stalls.peer_inspector import PeerState


@pytest.mark.parametrize("shows", [PeerState.BUSY, PeerState.REPLY_RETRANSMITTED])
def test_a_transfer_to_an_event_loop_broke_off_where_its_sender_was_never_idle(shows):
    scene = Scene()
    assert scene.take_sample(100, shows, transfer=True) == 0
    assert scene.take_sample(700, transfer=True) == 0
    assert scene.end(900, transfer=True) == 0


@pytest.mark.parametrize(
    ("first", "sender"),
    [(PeerState.WAITING_FOR_REQUEST, SERVER), (PeerState.UNKNOWN, None), (PeerState.HIDDEN, None)],
)
def test_a_transfer_whose_sender_was_idle_or_is_elsewhere_is_complete(first, sender):
    """Also when the sender stops afterwards: no thread waits for more.  It is inspected no more."""
    scene = Scene()
    scene.peer.process = sender
    assert scene.take_sample(100, first, transfer=True) is None
    inspections = len(scene.peer.asked)
    assert scene.take_sample(700, PeerState.BUSY, transfer=True) is None
    assert scene.end(900, transfer=True) is None
    assert len(scene.peer.asked) == inspections


@pytest.mark.parametrize("not_read", [PeerState.UNKNOWN, PeerState.UNKNOWN_ACTIVITY])
def test_a_sender_that_is_not_read_in_time_makes_no_transfer_complete(not_read):
    """On a busy host its process may not be read for a while: before the stall, or during it."""
    scene = Scene()
    assert scene.take_sample(100, not_read, transfer=True) is None
    assert scene.take_sample(300, PeerState.BUSY, transfer=True) == 0
    assert scene.take_sample(500, not_read, transfer=True) == 0
    assert scene.take_sample(700, PeerState.BUSY, transfer=True) == 0
    assert scene.take_sample(900, PeerState.WAITING_FOR_REQUEST, transfer=True) is None


def test_a_transfer_that_no_sample_has_seen_pause_is_no_stall():
    assert Scene().end(900, transfer=True) is None


def test_a_thread_that_waits_for_the_rest_of_a_transfer_needs_no_sender():
    scene = Scene()
    assert scene.take_sample(100, PeerState.UNKNOWN, transfer=True, blocked=True) == 0
