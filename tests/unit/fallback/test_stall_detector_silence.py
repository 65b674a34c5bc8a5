"""Those that wait for no reply are never reported."""

from __future__ import annotations

import pytest
from support.fake_connection import (
    NO_REPLY,
    RECEIVE,
    TID,
    Scene,
    answered_once,
    conversation,
    waits,
)
from support.tcp_model import CLOSE_WAIT, FIN_WAIT2, Tcp

from xctl_probe.events import Cause
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.stalls.request_history import RequestHistory

# Those that wait for no reply


@pytest.mark.parametrize("period_ms", [50, 101, 150, 1_000])
@pytest.mark.parametrize("sample_ms", [25, 97])
def test_a_one_way_sender_never_waits_for_a_reply(period_ms, sample_ms):
    """Logs and metrics, more or less often than the threshold: no answer is expected."""
    scene = Scene()
    now_ms = 0
    for n in range(1, 12):
        while now_ms + sample_ms <= n * period_ms:
            now_ms += sample_ms
            assert scene.take_sample(now_ms) is None
        scene.tcp.at(n * period_ms).send(101)
    assert scene.take_sample(60_000) is None
    assert scene.stalls() == []


def test_a_log_sender_stays_one_though_a_thread_is_blocked_in_a_receive():
    """Once sends have gone unanswered, a thread that reads for a close proves nothing."""
    scene = Scene()
    for n in range(1, 4):
        scene.tcp.at(n * 150).send(101)
        scene.take_sample(n * 150 + 11)
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(3_000) is None


def test_one_greeting_does_not_make_a_log_sender_a_client():
    """Answered at login, never again: by the first phase left alone no more stalls."""
    scene = answered_once()
    for n in range(1, 9):
        scene.tcp.at(n * 150).send(101)
        scene.take_sample(n * 150 + 11)
    assert scene.connection.history == scene.connection.peer_history == RequestHistory(1, 7)
    assert scene.take_sample(9_000) is None


def test_a_steady_conversation_survives_one_slip():
    """One phase in eight without its answer is a slip; the wait is a stall all the same."""
    scene = conversation(8)
    scene.tcp.at(1_000).send(53)
    scene.take_sample(1_003)
    scene.tcp.at(1_100).send(53)
    assert scene.take_sample(1_103) == waits(RECEIVE, 1_000, NO_REPLY)
    assert scene.connection.history == RequestHistory(8, 1)


def test_one_slip_in_a_shorter_conversation_decides_against_it():
    """Seven answers do not outweigh one phase without: the evidence does not decide."""
    scene = conversation(7)
    scene.tcp.at(1_000).send(53)
    scene.take_sample(1_003)
    scene.tcp.at(1_100).send(53)
    assert scene.take_sample(1_103) is None
    assert scene.connection.history == RequestHistory(7, 1)


def test_a_retransmit_is_not_a_send_of_the_process():
    """While the kernel sends again with growing backoff, no phase counts as unanswered."""
    scene = answered_once()
    scene.tcp.at(53).send(53, acked=False)
    scene.take_sample(60)
    scene.tcp.backoff = scene.tcp.retransmits = 3
    scene.tcp.at(300).send(53, acked=False)
    assert scene.take_sample(303) == waits(RECEIVE, 53, Cause.LOSS)
    assert scene.connection.history.unanswered == 0


def test_what_was_not_delivered_cannot_be_answered():
    """The process sends again before the kernel does: not all was asked yet, nothing slipped."""
    scene = answered_once()
    scene.tcp.at(53).send(53, acked=False)
    scene.take_sample(60)
    scene.tcp.at(200).send(53, acked=False)
    assert scene.take_sample(303) == waits(RECEIVE, 200, None)
    scene.tcp.at(400).acknowledge()
    scene.take_sample(410)
    assert scene.connection.history.unanswered == 0
    scene.tcp.at(600).send(53)
    scene.take_sample(603)
    assert scene.connection.history.unanswered == 1


@pytest.mark.parametrize("blocked", [None, Blocked(TID)])
def test_a_subscriber_that_is_quiet_after_data_never_waits(blocked):
    """Subscribed once, events since: the silence between two events is no stall."""
    scene = answered_once()
    scene.threads.receiving = blocked
    for now_ms in (700, 1_009, 4_001):
        scene.tcp.at(now_ms).receive(1_013)
        assert scene.take_sample(now_ms + 7) is None
        assert scene.take_sample(now_ms + 200) is None
    assert scene.take_sample(90_001) is None
    assert scene.stalls() == []


def test_an_idle_connection_never_waits():
    """A pool's connection that has sent nothing yet is not stalled, whatever the thread does."""
    scene = Scene()
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(90_001) is None
    assert scene.idle


@pytest.mark.parametrize("blocked", [None, Blocked(TID)])
def test_an_accepted_connection_never_waits_to_receive(blocked):
    """A server that has answered and reads the next request is idle, not stalled."""
    scene = Scene(Tcp(opened=False))
    scene.threads.receiving = blocked
    for n in range(1, 6):
        scene.tcp.at(n * 200).receive(7)
        assert scene.take_sample(n * 200 + 3) is None
        scene.tcp.at(n * 200 + 11).send(13)
        assert scene.take_sample(n * 200 + 13) is None
    assert scene.take_sample(90_001) is None
    scene.tcp.rmem, scene.tcp.out_of_order = (
        2_304,
        1,
    )  # not even for a hole: it may be the rest of a request
    assert scene.take_sample(90_501) is None
    assert scene.stalls() == []


def test_a_fin_is_no_answer():
    """A server that closes without a word has not answered; no wait goes on after it."""
    scene = Scene()
    scene.tcp.at(10).send(53)
    scene.take_sample(20)
    scene.tcp.state, scene.tcp.fin_received = CLOSE_WAIT, 1
    scene.threads.receiving = Blocked(TID)
    assert scene.take_sample(300) is None
    assert scene.connection.history == RequestHistory(0, 0)
    assert scene.connection.peer_history == RequestHistory(0, 0)


def test_a_fin_finishes_a_stall_when_it_is_seen():
    """The wait for a reply that never comes is over with the connection, at no made-up time."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    assert scene.take_sample(200) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.state, scene.tcp.fin_received = CLOSE_WAIT, 1
    assert scene.take_sample(300) is None
    assert scene.stalls() == [(RECEIVE, 247, NO_REPLY)]


def test_a_half_closed_client_still_waits_for_its_reply():
    """After shutdown(SHUT_WR) right behind the request the reply is outstanding all the same."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.take_sample(60)
    scene.tcp.state, scene.tcp.fin_sent, scene.tcp.fin_acked = FIN_WAIT2, 1, 1
    scene.take_sample(64)
    assert scene.take_sample(160) == waits(RECEIVE, 53, NO_REPLY)


def test_our_fin_is_not_a_second_request():
    """shutdown(SHUT_WR) in the middle of the wait does not make the request an unanswered one."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.take_sample(60)
    scene.tcp.state, scene.tcp.fin_sent, scene.tcp.fin_acked = FIN_WAIT2, 1, 1
    assert scene.take_sample(160) == waits(RECEIVE, 53, NO_REPLY)


def test_our_fin_is_no_request():
    """A client that has its answer and closes its side asks for nothing by that."""
    scene = answered_once()
    scene.tcp.at(53).state = FIN_WAIT2
    scene.tcp.fin_sent = scene.tcp.fin_acked = 1
    assert scene.take_sample(60) is None
    assert scene.take_sample(9_000) is None


def test_no_process_waits_for_a_socket_that_no_process_has():
    """Closed by its process and not yet gone, inode 0: no stall, and one is over."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    assert scene.take_sample(200) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.inode = 0
    assert scene.take_sample(251) is None
    assert scene.stalls() == [(RECEIVE, 198, NO_REPLY)]


def test_an_unread_reply_is_the_process_own_affair():
    """With data in the receive queue the network has delivered."""
    scene = answered_once()
    scene.tcp.at(53).send(53)
    scene.tcp.rqueue = scene.tcp.rmem = 13
    assert scene.take_sample(500) is None
