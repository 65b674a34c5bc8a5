"""The answer about a process that has asked: whether it waits for a reply, and for which."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.why_sockets import (
    ACCEPTED,
    ASKED,
    CLOSED,
    IN_EPOLL,
    IN_RECV,
    INODE,
    OPENED,
    finding_of,
)

from xctl_probe.commands.why.sockets import Peer
from xctl_probe.commands.why.verdict import findings
from xctl_probe.events import Cause


def test_a_reply_is_awaited_in_recv():
    """The request was acknowledged: the network did its part, the peer has it."""
    finding = finding_of(ASKED, IN_RECV)
    assert finding.text == (
        "waits for a reply from 10.0.0.7:5432 for 12.4 s; "
        "its request was acknowledged, so the peer has it"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, True, Cause.NO_REPLY)


def test_a_peer_that_waits_for_more_makes_the_wait_expected():
    """A blocking read of a queue, where nothing is late; or the peer has lost the request."""
    peer = Peer(0, 239, "redis-server", stopped=False, listens=True)
    for waiter, waits in ((IN_RECV, True), (IN_EPOLL, False)):
        finding = finding_of(replace(ASKED, peer=peer), waiter)
        assert finding.text == (
            "waits for the answer of redis-server (pid 239) at 10.0.0.7:5432 for 12.4 s, "
            "which has read the request and waits for other events, probably because it has no "
            "answer yet"
        )
        # A thread is in a receive; of an event loop, the reply may be nothing that it needs.
        assert (finding.waits, finding.seen) == (waits, waits)
        assert (finding.certain, finding.cause) == (False, None)
    on_its_way = finding_of(replace(ASKED, peer=peer, send_queue=23), IN_RECV)
    assert (on_its_way.waits, on_its_way.cause) == (True, None)


@pytest.mark.parametrize(
    ("peer", "expected_text"),
    [
        (Peer(23, 239, "server", False), "server (pid 239) has not read its request"),
        (Peer(23, 239, "server", True), "lie in the queue there, and it is stopped"),
        (Peer(23, None, None, False), "the peer has not read its request"),
        (Peer(0, 239, "server", False), "was acknowledged, so the peer has it"),
    ],
)
def test_a_request_that_no_process_has_read_is_shown_to_lie_there(peer, expected_text):
    finding = finding_of(replace(ASKED, peer=peer), IN_RECV)
    assert expected_text in finding.text
    assert (finding.waits, finding.cause) == (True, Cause.NO_REPLY)


def test_in_an_event_loop_a_reply_is_only_likely():
    """Unless sends on this connection were answered before."""
    assert finding_of(ASKED, IN_EPOLL).text.startswith("probably waits for a reply")
    assert not finding_of(ASKED, IN_EPOLL).certain
    assert finding_of(replace(ASKED, answered_before=True), IN_EPOLL).certain


def test_who_was_never_answered_may_expect_nothing():
    """A log sender's connection in an event loop."""
    text = finding_of(replace(ASKED, last_receive_ms=None), IN_EPOLL).text
    assert text.startswith("probably")
    assert "it may expect none" in text


def test_a_request_on_its_way_is_not_shown_to_be_delivered():
    """Sent, and not acknowledged yet."""
    finding = finding_of(replace(ASKED, send_queue=23, unacked_segments=1), IN_RECV)
    assert "on its way" in finding.text
    assert finding.cause is None


def test_no_process_who_reads_is_no_process_who_waits():
    """An idle connection in the pool of a process that computes."""
    assert finding_of(ASKED) is None
    assert finding_of(OPENED) is None


def test_a_peer_that_is_frozen_is_shown_to_be():
    """It may have read the request before."""
    peer = Peer(23, 239, "server", stopped=True, frozen=True)
    assert finding_of(replace(ASKED, peer=peer), IN_RECV).text.endswith(
        "queue there, and it is frozen"
    )
    peer = replace(peer, unread_bytes=0)
    assert finding_of(replace(ASKED, peer=peer), IN_RECV).text.endswith(
        "server (pid 239) is frozen"
    )


def test_an_exchange_of_milliseconds_is_no_wait():
    """That is how networks work."""
    assert finding_of(replace(ASKED, reply_ms=99.0), IN_RECV) is None


@pytest.mark.parametrize("stall_ms", [1, 100, 12_400, 12_401])
def test_a_wait_counts_from_stall_ms_on(stall_ms):
    """As in the stream; --stall-ms of the command line."""
    found = findings([ASKED], [], {INODE: IN_RECV}, stall_ms=stall_ms)
    assert len(found) == (stall_ms <= 12_400)


# Which of several


def test_who_was_answered_before_waits_rather_than_who_never_was():
    """Two connections in one event loop; the older one only ever sent a greeting."""
    hello = replace(ASKED, inode=1, reply_ms=60_000.0, last_receive_ms=None)
    found = findings([hello, ASKED], [], {1: IN_EPOLL, INODE: IN_EPOLL})
    assert [finding.inode for finding in found] == [INODE, 1]


@pytest.mark.parametrize(
    ("sent_ms", "waits"),
    [(9_600, False), (12_000, True), (300, True)],
    ids=["went on for seconds", "silent since then", "heartbeats"],
)
def test_an_event_loop_that_went_on_without_a_reply_may_expect_none(sent_ms, waits):
    """As a pair of ranks that is used for the first broadcast only."""
    other = replace(ACCEPTED, inode=INODE + 1, last_send_ms=sent_ms, last_receive_ms=13_000)
    first = findings([ASKED, other], [], {INODE: IN_EPOLL})[0]
    assert first.inode == INODE
    assert (first.waits, first.seen) == (waits, waits)
    assert first.text.endswith("it went on without that until 9.6 s ago") != waits


@pytest.mark.parametrize(
    ("asked", "waiter"),
    [
        (ASKED, IN_RECV),
        (replace(ASKED, answered_before=True), IN_EPOLL),
        (replace(ASKED, peer=Peer(31, 239, "rank", stopped=False)), IN_EPOLL),
    ],
    ids=["in a receive", "replies came before", "the request was not read"],
)
def test_what_is_known_of_a_wait_counts_more_than_that_others_went_on(asked, waiter):
    other = replace(ACCEPTED, inode=INODE + 1, last_send_ms=9_600)
    assert findings([asked, other], [], {INODE: waiter})[0].waits


@pytest.mark.parametrize(("waiter", "waits"), [(IN_EPOLL, False), (IN_RECV, True)])
def test_an_event_loop_beside_a_thread_that_computes_may_expect_nothing(waiter, waits):
    """As that of a rank for which the others wait."""
    (finding,) = findings([ASKED], [], {INODE: waiter}, computes=True)
    assert (finding.waits, finding.seen) == (waits, waits)
    assert finding.text.endswith("a thread of it runs all the while") != waits


@pytest.mark.parametrize("computes", [True, False])
def test_what_is_not_sent_is_no_guess_about_a_reply(computes):
    """That of an event loop which goes on elsewhere has a text of its own."""
    stuck = replace(CLOSED, full_ms=None)
    other = replace(ACCEPTED, inode=INODE + 1, last_send_ms=1_100, last_receive_ms=1_100)
    alone = findings([stuck], [], {INODE: IN_EPOLL})[0]
    beside = findings([stuck, other], [], {INODE: IN_EPOLL}, computes=computes)[0]
    assert (beside.inode, beside.text, beside.waits) == (INODE, alone.text, alone.waits)
    assert alone.text.endswith("though this process may not be waiting for that")


def test_what_is_certain_and_longest_comes_first():
    """The verdict is the first."""
    sockets = [
        replace(ACCEPTED, inode=1),
        replace(ASKED, inode=2, reply_ms=60_000.0),
        replace(ASKED, inode=3, reply_ms=200.0),
        replace(ASKED, inode=5, reply_ms=300.0),
    ]
    waiting = {1: IN_RECV, 2: IN_EPOLL, 3: IN_RECV, 5: IN_RECV}
    assert [f.inode for f in findings(sockets, [], waiting)] == [5, 3, 2, 1]
