"""What the kernel noted becomes a stall, or not, by the rules of the history; and its cause."""

from __future__ import annotations

import pytest

from xctl_probe.ebpf.abi import RECORD, Evidence, Kind, RawEvent, StallDirection
from xctl_probe.ebpf.stall_policy import cause, is_stall
from xctl_probe.events import Cause
from xctl_probe.stalls.request_history import RequestHistory

NOTHING = Evidence(0)
STRANGER = RequestHistory()
ANSWERED_BEFORE = RequestHistory(answered=3)


def candidate(
    direction: StallDirection = StallDirection.RECEIVE,
    seen: Evidence = NOTHING,
    answered: int = 0,
    unanswered: int = 0,
) -> RawEvent:
    blank = RawEvent._make(RECORD.unpack(bytes(RECORD.size)))
    return blank._replace(
        kind=Kind.STALL,
        direction=direction,
        evidence=seen,
        answered=answered,
        unanswered=unanswered,
    )


def test_a_blocked_sender_and_a_slow_connect_need_no_further_evidence() -> None:
    assert is_stall(candidate(StallDirection.SEND), STRANGER)
    assert is_stall(candidate(StallDirection.CONNECT), STRANGER)


def test_a_server_that_waits_for_the_next_request_is_idle() -> None:
    seen = Evidence.BLOCKED  # in recv, on a connection that it accepted
    assert not is_stall(candidate(seen=seen, answered=23), ANSWERED_BEFORE)


def test_a_client_blocked_in_its_first_receive_waits() -> None:
    assert is_stall(candidate(seen=Evidence.OPENED | Evidence.BLOCKED), STRANGER)


def test_a_client_in_epoll_waits_when_it_was_answered_before() -> None:
    assert is_stall(candidate(seen=Evidence.OPENED, answered=1), STRANGER)
    assert is_stall(candidate(seen=Evidence.OPENED), ANSWERED_BEFORE)
    assert not is_stall(candidate(seen=Evidence.OPENED), STRANGER)


def test_a_log_sender_is_silent_even_with_a_thread_in_the_receive() -> None:
    seen = Evidence.OPENED | Evidence.BLOCKED
    assert not is_stall(candidate(seen=seen, unanswered=1), ANSWERED_BEFORE)


def test_one_lost_answer_does_not_make_a_one_way_stream() -> None:
    assert is_stall(candidate(seen=Evidence.OPENED, answered=23, unanswered=1), STRANGER)


def test_a_hole_in_the_sequence_proves_that_more_was_coming() -> None:
    assert is_stall(candidate(seen=Evidence.OPENED | Evidence.HOLE), STRANGER)
    assert not is_stall(candidate(seen=Evidence.HOLE), STRANGER)


def test_a_flow_that_paused_may_be_a_stall_of_who_opened_the_connection() -> None:
    """Without a thread in a receive its sender decides, in `reply_waits`."""
    assert is_stall(candidate(seen=Evidence.OPENED | Evidence.FLOW | Evidence.BLOCKED), STRANGER)
    assert is_stall(candidate(seen=Evidence.OPENED | Evidence.FLOW), STRANGER)
    assert not is_stall(candidate(seen=Evidence.FLOW), ANSWERED_BEFORE)


def test_a_datagram_is_awaited_only_where_somebody_listens() -> None:
    """Only a thread that sleeps on it shows that its queue is empty."""
    datagram = candidate(seen=Evidence.OPENED, answered=3)._replace(protocol=17)
    assert not is_stall(datagram, ANSWERED_BEFORE)
    assert is_stall(datagram._replace(evidence=Evidence.OPENED | Evidence.POLLING), STRANGER)


MS = 1_000_000
ASKED = Evidence.OPENED
ALONE = Evidence.POLLING | Evidence.ALONE


@pytest.mark.parametrize(
    ("seen", "waited_ms", "port", "answered", "unanswered", "expected"),
    [
        # a first query: who polls nothing else, or blocks, is believed after a second
        (ALONE, 1_000, 0, 0, 0, True),
        (ALONE, 999, 0, 0, 0, False),
        (Evidence.BLOCKED, 1_000, 0, 0, 0, True),
        (Evidence.BLOCKED, 999, 0, 0, 0, False),
        (Evidence.POLLING, 2_000, 0, 0, 0, False),
        (ALONE, 1_000, 3_001, 0, 0, True),
        (Evidence.POLLING, 2_000, 3_001, 0, 0, False),
        (Evidence.BLOCKED, 100, 3_001, 0, 0, True),
        # answered before; sent again, and again, without an answer
        (Evidence.POLLING, 100, 0, 1, 0, True),
        (Evidence.POLLING, 100, 3_001, 1, 0, True),
        (ALONE, 2_000, 0, 7, 1, False),
        (Evidence.POLLING, 100, 0, 8, 1, True),
        # only queries go to port 53
        (Evidence.POLLING, 100, 53, 0, 3, True),
        (NOTHING, 100, 53, 3, 0, False),
        # resolvers have given up by then
        (Evidence.POLLING, 30_000, 53, 0, 0, True),
        (Evidence.POLLING, 30_001, 53, 0, 0, False),
        (ALONE, 30_001, 0, 3, 0, False),
        (Evidence.BLOCKED, 60_000, 0, 0, 0, True),
    ],
)
def test_who_waits_for_a_datagram(seen, waited_ms, port, answered, unanswered, expected) -> None:
    """Its port is 0 where the socket is not connected."""
    asked = candidate(seen=ASKED | seen, answered=answered, unanswered=unanswered)
    asked = asked._replace(protocol=17, remote_port=port, span_ns=waited_ms * MS)
    assert is_stall(asked, STRANGER) is expected
    assert not is_stall(asked._replace(evidence=seen), STRANGER)


def test_sockets_that_are_not_connected_learn_nothing_from_each_other() -> None:
    asked = candidate(seen=ASKED | Evidence.POLLING)._replace(protocol=17, span_ns=100 * MS)
    assert not is_stall(asked, ANSWERED_BEFORE)
    assert is_stall(asked._replace(remote_port=3_001), ANSWERED_BEFORE)


@pytest.mark.parametrize(
    ("direction", "seen", "expected"),
    [
        (StallDirection.CONNECT, Evidence.RETRANSMIT, Cause.CONNECTING),
        (StallDirection.SEND, Evidence.PEER_WINDOW, Cause.PEER_WINDOW),
        (StallDirection.SEND, Evidence.PEER_WINDOW | Evidence.RETRANSMIT, Cause.LOSS),
        (StallDirection.SEND, Evidence.RETRANSMIT, Cause.LOSS),
        (StallDirection.SEND, Evidence(0), Cause.SEND_BUFFER),
        (StallDirection.RECEIVE, Evidence.BLOCKED, Cause.NO_REPLY),
        (StallDirection.RECEIVE, Evidence.BLOCKED | Evidence.RETRANSMIT, Cause.LOSS),
        (StallDirection.RECEIVE, Evidence.HOLE, Cause.LOSS),
    ],
)
def test_cause(direction: StallDirection, seen: Evidence, expected: Cause) -> None:
    assert cause(candidate(direction, seen)) is expected


@pytest.mark.parametrize(
    ("direction", "seen", "expected"),
    [
        (StallDirection.SEND, Evidence.PACED, Cause.PACING),
        (StallDirection.SEND, Evidence.PACED | Evidence.PEER_WINDOW, Cause.PEER_WINDOW),
        (StallDirection.SEND, Evidence.UNSENT, None),
        (StallDirection.SEND, Evidence.UNSENT | Evidence.UNSENDABLE, Cause.LOCAL_DROP),
        (StallDirection.RECEIVE, Evidence.UNSENT, None),
        (StallDirection.RECEIVE, Evidence.UNSENT | Evidence.UNSENDABLE, Cause.LOCAL_DROP),
        (StallDirection.RECEIVE, Evidence.UNSENT | Evidence.PACED, Cause.PACING),
        (StallDirection.RECEIVE, Evidence.PACED, Cause.NO_REPLY),
    ],
)
def test_what_stays_on_this_host_is_neither_the_path_nor_the_peer(
    direction: StallDirection, seen: Evidence, expected: Cause | None
) -> None:
    assert cause(candidate(direction, seen)) is expected
