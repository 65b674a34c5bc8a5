"""Data that was coming and stopped; and how the detector hands on what it found."""

from __future__ import annotations

import pytest
from support.fake_connection import (
    NO_REPLY,
    RECEIVE,
    SEND,
    TID,
    answered_once,
    download,
    full_sender,
    since,
    waits,
)
from support.tcp_model import MS, OWNER, SOCKET

from xctl_probe.events import Cause, Stall
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.stalls.peer_inspector import PeerState

# Receiving, in mid-stream


def test_a_hole_in_the_sequence_is_a_stall_of_loss():
    """Out-of-order data waits for what is missing: from the last sample without it to its end."""
    scene = answered_once()
    scene.take_sample(207)
    scene.tcp.at(211).segments_in += 1
    scene.tcp.rmem, scene.tcp.out_of_order = 2_304, 1
    scene.take_sample(220)
    assert scene.take_sample(306) is None
    assert scene.take_sample(307) == waits(RECEIVE, 207, Cause.LOSS)
    scene.tcp.at(431).receive(1_009).rmem = 0
    assert scene.take_sample(440) is None
    assert scene.stalls() == [(RECEIVE, 224, Cause.LOSS)]


def test_a_hole_that_is_filled_and_opens_again_begins_anew():
    """Data that came in between is progress: the stall is over with it."""
    scene = answered_once()
    scene.take_sample(207)
    scene.tcp.rmem, scene.tcp.out_of_order = 2_304, 1
    assert scene.take_sample(307) == waits(RECEIVE, 207, Cause.LOSS)
    scene.tcp.at(431).receive(1_009)
    assert scene.take_sample(440) is None
    assert scene.stalls() == [(RECEIVE, 224, Cause.LOSS)]
    assert scene.take_sample(531) == waits(RECEIVE, 431, Cause.LOSS)


@pytest.mark.parametrize("out_of_order", [0, 1, 7])
def test_messages_in_the_error_queue_are_no_hole(out_of_order):
    """Time stamps of what was sent (SO_TIMESTAMPING), which take memory until they are read.

    Also where segments came out of order long ago.
    """
    scene = answered_once()
    scene.tcp.at(211).receive(1_009).out_of_order = out_of_order
    scene.take_sample(220)
    scene.tcp.at(400).rmem = 2_304
    for now_ms in (410, 1_013, 3_600_000):
        assert scene.take_sample(now_ms) is None


def test_data_that_waits_for_its_reader_is_no_hole():
    """Memory is used because the process does not read."""
    scene = answered_once()
    tcp = scene.tcp.at(211).receive(1_009)
    tcp.rmem, tcp.rqueue = 2_304, 1_009
    assert scene.take_sample(1_013) is None


def test_a_transfer_that_breaks_off_under_a_blocked_reader_is_a_stall():
    """800 ms at 1 MB/s, then silence, and a thread that wants more."""
    scene = download(5, 200_003)
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(1_298) is None
    assert scene.take_sample(1_299) == waits(RECEIVE, 1_199, None, TID)
    assert scene.take_sample(1_400) == waits(RECEIVE, 1_199, None, TID)
    scene.tcp.at(1_601).receive(1_009)
    assert scene.take_sample(1_607) is None
    assert scene.stalls() == [(RECEIVE, 402, None)]


@pytest.mark.parametrize(
    ("parts", "each_bytes"), [(4, 1_000_003), (5, 199_999), (17, 1_009)], ids=str
)
def test_what_was_no_transfer_has_not_broken_off(parts, each_bytes):
    """Too short or too thin: a feed that pauses is no stall, though a thread reads."""
    scene = download(parts, each_bytes)
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(9_000) is None


def test_a_download_that_is_over_is_no_stall():
    """No thread reads for more; and a thread that does so later waits for something else."""
    scene = download(7, 1_000_003)
    assert scene.take_sample(2_100) is None
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(9_000) is None


def test_an_event_after_a_pause_is_no_transfer_that_broke_off():
    """The count begins anew after a pause that a sample has seen."""
    scene = download(7, 1_000_003)
    scene.other_end.shows = PeerState.UNKNOWN
    assert scene.take_sample(1_800) is None
    scene.tcp.at(1_807).receive(1_009)
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(1_809) is None
    assert scene.take_sample(9_000) is None


def test_a_snapshot_and_a_later_event_are_no_transfer():
    """So many bytes, and 800 ms from the first to the last, but not without a pause."""
    scene = answered_once()
    scene.tcp.at(41).receive(3_000_017, segments=101)
    scene.take_sample(50)
    scene.take_sample(160)
    scene.tcp.at(900).receive(1_009)
    scene.threads.receiving = Blocked(TID)
    scene.take_sample(910)
    assert scene.take_sample(9_000) is None


# What the detector hands on


def test_a_stall_that_turns_into_another_kind_is_over_first():
    """A missing reply that becomes a full buffer is two stalls, one after the other."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    assert scene.take_sample(160) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.at(171).send(1_009, acked=False).fill(80_021)
    scene.take_sample(180)
    wait = scene.take_sample(400)
    assert wait is not None
    assert (wait.direction, wait.cause) == (SEND, Cause.SEND_BUFFER)
    ((direction, duration_ms, cause),) = scene.stalls()
    assert (direction, cause) == (RECEIVE, NO_REPLY)
    assert duration_ms in (400 - 53, 180 - 53)


def test_a_connection_that_closes_finishes_its_stall():
    """The event has the owner, the socket and the whole length."""
    scene = full_sender()
    assert scene.take_sample(200) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.detector.end(scene.connection, OWNER, since(464))
    assert scene.connection.ended == [
        Stall(OWNER, SOCKET, SEND, 411 * MS, False, Cause.SEND_BUFFER, None)
    ]
    scene.detector.end(scene.connection, OWNER, since(700))
    assert len(scene.connection.ended) == 1


def test_a_quiet_connection_is_one_that_only_new_activity_can_stall():
    """Answered and acknowledged it is quiet; waiting, full, in flight or flowing it is not."""
    assert answered_once().idle
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.take_sample(60)
    assert not scene.idle
    assert not full_sender().idle
    assert download(4, 200_003).idle
    assert not download(5, 200_003).idle
