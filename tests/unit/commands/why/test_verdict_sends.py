"""The answer about a process whose data, connects or keepalives do not get through."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from support.why_sockets import (
    ACCEPTED,
    ASKED,
    CLOSED,
    IN_EPOLL,
    IN_RECV,
    IN_SEND,
    OPENED,
    finding_of,
)

from xctl_probe.commands.why.sockets import Peer
from xctl_probe.events import Cause, Direction
from xctl_probe.stalls.causes import Evidence, cause


def test_a_peer_that_does_not_read_is_named():
    """Its window is closed, and data waits to be sent."""
    unread = Peer(9_001, 239, "server", stopped=False)
    stopped = Peer(0, 239, "server", stopped=True)
    for peer in (None, unread, stopped):
        finding = finding_of(replace(CLOSED, peer=peer), IN_SEND)
        assert finding.text == (
            "the peer 10.0.0.7:5432 does not read: its window is closed for 3.0 s; "
            "128.0 KiB wait to be sent"
        )
        assert (finding.cause, finding.certain) == (Cause.PEER_WINDOW, True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"peer": Peer(0, 239, "server", stopped=False)}, "has read all: its receive buffer is"),
        ({"peer_window_bytes": 576}, "10.0.0.7:5432, 576 bytes, is too small for more for 3.0 s"),
    ],
)
def test_a_peer_with_a_small_buffer_is_not_shown_to_leave_data_unread(change, text):
    finding = finding_of(replace(CLOSED, **change), IN_SEND)
    assert text in finding.text
    assert "does not read" not in finding.text
    assert finding.cause is Cause.PEER_WINDOW


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (Cause.PACING, "the sender itself limits its rate to 10.0.0.7:5432 (SO_MAX_PACING_RATE)"),
        (Cause.LOCAL_DROP, "this host drops what it sends to 10.0.0.7:5432"),
        (None, "what is to be sent to 10.0.0.7:5432 does not leave this host"),
    ],
)
def test_what_this_host_holds_back_is_not_due_to_the_peer(cause, text):
    """The kernel probes the peer's window then, too."""
    held = replace(CLOSED, probing=True, send_cause=cause, peer_window_bytes=65_536)
    finding = finding_of(held, IN_SEND)
    assert finding.text == f"{text}: the send buffer is full"
    assert (finding.waits, finding.cause, finding.ms) == (True, cause, 3_000.0)
    empties = finding_of(replace(held, full_ms=None), IN_SEND)
    if cause is None:
        assert empties is None
    else:  # below its limit the buffer still keeps the thread
        assert empties.text == f"{text}, and a thread waits to send"
        assert (empties.waits, empties.cause, empties.ms) == (True, cause, 3_000.0)
    assert finding_of(replace(held, full_ms=None)) is None


def test_every_cause_of_a_send_has_words():
    """Keepalives are sent only while no data waits."""
    others = [name for name in Evidence._fields if name not in ("direction", "host_silent")]
    for flags in itertools.product((False, True), repeat=len(others)):
        why = cause(Evidence(Direction.SEND, **dict(zip(others, flags, strict=True))))
        held = replace(CLOSED, send_cause=why, peer_window_bytes=65_536)
        assert finding_of(held, IN_SEND).cause is why


def test_a_window_that_pacing_leaves_open_is_not_blamed():
    """While the sender waits for its own rate, the window may count as the limit, too."""
    held = replace(CLOSED, send_cause=Cause.PACING, window_share=0.93)
    assert finding_of(held, IN_SEND).cause is Cause.PACING


def test_a_closed_window_that_no_process_waits_for_is_reported_apart():
    """The buffer has room, so the process may go on."""
    finding = finding_of(
        replace(OPENED, send_queue=23, not_sent_bytes=23, send_cause=Cause.PEER_WINDOW)
    )
    assert "may not be waiting for that" in finding.text
    assert not finding.certain


def test_a_peer_that_reads_slowly_is_reported():
    """Its window opens now and then."""
    slow = replace(OPENED, send_queue=4_096, not_sent_bytes=4_096, window_share=0.83)
    assert finding_of(slow, IN_SEND).text == (
        "the window of the peer 10.0.0.7:5432 held this side up 83% of the sampled time: "
        "the peer reads too slowly, or its receive buffer is small"
    )


def test_a_slow_path_is_reported_by_the_full_buffer():
    """The window is open, nothing is retransmitted."""
    full = replace(
        OPENED, send_queue=4_096, unacked_segments=3, full_ms=700.0, send_cause=Cause.SEND_BUFFER
    )
    assert finding_of(full, IN_SEND).cause is Cause.SEND_BUFFER


def test_losses_come_with_the_next_attempt():
    """How many so far, and when the kernel tries again."""
    lost = replace(
        ASKED, send_queue=23, unacked_segments=1, retransmits=4, next_try_ms=6_000,
        unanswered_ms=6_200.0,
    )  # fmt: skip
    finding = finding_of(lost, IN_RECV)
    assert finding.text == (
        "no packet gets through to 10.0.0.7:5432 for 6.2 s: 4 retransmits, next in 6.0 s"
    )
    assert finding.cause is Cause.LOSS


def test_a_connect_is_reported_with_or_without_retries():
    """At first it is just under way."""
    connecting = replace(OPENED, state="SYN_SENT", unacked_segments=1, unanswered_ms=300.0)
    assert finding_of(connecting).text == "still connecting to 10.0.0.7:5432 for 0.30 s"
    connecting = replace(connecting, retransmits=1, next_try_ms=1_900, unanswered_ms=2_100.0)
    assert finding_of(connecting).text == (
        "still connecting to 10.0.0.7:5432 for 2.1 s: 2 SYNs unanswered, next in 1.9 s"
    )


def test_a_connect_whose_syn_has_not_left_is_no_wait():
    """TCP_FASTOPEN_CONNECT: the SYN goes with the first send.  /proc/net does not show it."""
    deferred = replace(OPENED, state="SYN_SENT", unacked_segments=0, unanswered_ms=1_000.0)
    assert finding_of(deferred) is None
    assert finding_of(replace(deferred, unacked_segments=None)).waits


def test_a_hole_is_a_lost_packet():
    """Later data has arrived."""
    finding = finding_of(replace(OPENED, hole_ms=1_300.0))
    assert "was lost: what follows it arrived 1.3 s ago" in finding.text
    assert finding_of(replace(ACCEPTED, hole_ms=1_300.0), IN_RECV).text == finding.text
    assert finding_of(replace(ACCEPTED, hole_ms=1_300.0)) is None


def test_a_host_that_answers_no_keepalive_keeps_who_reads_waiting():
    """Also who has asked for nothing, or waits as expected."""
    for socket in (OPENED, ASKED):
        dead = replace(socket, unanswered_keepalives=5, heard_ms=10_400)
        finding = finding_of(dead, IN_RECV)
        assert finding.text == (
            "waits for data from 10.0.0.7:5432, whose host does not answer: "
            "5 keepalives unanswered, nothing came for 10.4 s"
        )
        assert (finding.waits, finding.certain) == (True, True)
        assert (finding.cause, finding.ms) == (Cause.KEEPALIVE, 10_400.0)
        likely = finding_of(dead, IN_EPOLL)
        assert likely.text.startswith("probably waits for data from 10.0.0.7:5432")
        assert (likely.waits, likely.certain) == (True, False)
        assert finding_of(dead) is None  # an idle connection in the pool of a process that computes
        assert (
            finding_of(replace(dead, unanswered_keepalives=1), IN_RECV).cause is not Cause.KEEPALIVE
        )


def test_a_server_whose_client_is_gone_waits_for_work():
    gone = replace(ACCEPTED, unanswered_keepalives=2, heard_ms=150_000)
    finding = finding_of(gone, IN_RECV)
    assert finding.text.startswith("waits for its client 10.0.0.7:5432, whose host does not answer")
    assert not finding.waits
