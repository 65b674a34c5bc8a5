"""A sender that is held up, and a handshake that does not finish."""

from __future__ import annotations

import pytest
from support.fake_connection import CONNECT, SEND, TID, Scene, answered_once, full_sender, waits
from support.tcp_model import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    LAST_ACK,
    NO_LIMIT,
    SNDBUF,
    SYN_SENT,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    Tcp,
)

from xctl_probe.events import Cause
from xctl_probe.fallback.sock_diag import UNKNOWN_WINDOW
from xctl_probe.fallback.thread_evidence import Blocked

# Sending


@pytest.mark.parametrize("opened", [True, False])
def test_a_full_buffer_is_a_send_stall_on_either_side(opened):
    """From the last segment that went out, until the buffer has drained below two thirds."""
    scene = full_sender(opened=opened)
    assert scene.take_sample(152) is None
    assert scene.take_sample(153) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.tcp.wmem = SNDBUF * 2 // 3 + 1  # not yet woken: sk_stream_is_writeable()
    assert scene.take_sample(301) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.tcp.wmem = SNDBUF * 2 // 3
    assert scene.take_sample(400) is None
    assert scene.stalls() == [(SEND, 347, Cause.SEND_BUFFER)]


def test_a_full_buffer_after_the_peers_fin_is_a_stall_too():
    """The peer has closed its side and still does not read."""
    scene = full_sender()
    scene.tcp.state, scene.tcp.fin_received = CLOSE_WAIT, 1
    assert scene.take_sample(200) == waits(SEND, 53, Cause.SEND_BUFFER)


def test_a_buffer_that_is_nearly_full_is_no_stall():
    """One byte of room, no thread blocked: the sender goes on."""
    scene = Scene()
    scene.tcp.at(53).send(1_009, acked=False).fill(80_021)
    scene.tcp.wmem = SNDBUF - 1
    scene.take_sample(60)
    assert scene.take_sample(3_000) is None


def test_progress_in_a_full_buffer_begins_anew():
    """Full again after the process got something in: one stall ended, another may begin."""
    scene = full_sender()
    assert scene.take_sample(200) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.tcp.at(211).send(1_009, acked=False)
    assert scene.take_sample(220) is None
    assert scene.stalls() == [(SEND, 167, Cause.SEND_BUFFER)]
    assert scene.take_sample(311) == waits(SEND, 211, Cause.SEND_BUFFER)


def test_a_bulk_sender_that_keeps_moving_is_not_stalled():
    """A buffer that is full at every sample, and has taken more each time, is a busy one."""
    scene = full_sender()
    for now_ms in range(100, 2_000, 50):
        scene.tcp.at(now_ms).send(1_009, acked=False)
        assert scene.take_sample(now_ms + 7) is None
    assert scene.stalls() == []


HELD = {"timer": TIMER_PROBE, "acked": 1_009}  # nothing is in flight
PACED = {"pacing_rate": 200_017, "max_pacing_rate": 200_017}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (HELD | {"snd_wnd": 0}, Cause.PEER_WINDOW),
        (HELD | {"snd_wnd": 1_447}, Cause.PEER_WINDOW),
        (HELD | {"rwnd_limited_us": 7_000}, Cause.PEER_WINDOW),
        (HELD | {"snd_wnd": UNKNOWN_WINDOW}, Cause.PEER_WINDOW),
        ({"snd_wnd": UNKNOWN_WINDOW, "probes": 1}, Cause.PEER_WINDOW),
        ({"snd_wnd": 0, "timer": TIMER_RETRANSMIT, "retransmits": 1}, Cause.PEER_WINDOW),
        ({"timer": TIMER_RETRANSMIT, "retransmits": 1}, Cause.LOSS),
        ({"timer": TIMER_RETRANSMIT, "retransmits": 0}, Cause.SEND_BUFFER),
        (HELD, None),
        (HELD | {"probes": 1}, Cause.LOCAL_DROP),
        (HELD | PACED, Cause.PACING),
        (PACED, Cause.PACING),
        (PACED | {"pacing_rate": 200_016}, Cause.SEND_BUFFER),
        ({"pacing_rate": NO_LIMIT}, Cause.SEND_BUFFER),
    ],
)
def test_the_cause_of_a_send_stall(change, cause):
    """The window, what is in flight and the sender's own limit show why the buffer does not drain.

    The kernel's timer for probes runs whenever nothing is in flight: it shows nothing.
    """
    scene = full_sender()
    vars(scene.tcp).update(change)
    assert scene.take_sample(200) == waits(SEND, 53, cause)


@pytest.mark.parametrize("blocked", [Blocked(TID), Blocked(None)], ids=["thread", "event loop"])
def test_a_sender_held_up_below_its_buffer_size_is_known_by_its_process(blocked):
    """TCP_NOTSENT_LOWAT and the like: a blocked thread or event loop, since the last write."""
    scene = Scene()
    scene.tcp.at(53).send(1_009)
    scene.take_sample(60)
    scene.tcp.at(71).written += 1_013
    scene.tcp.snd_wnd = 0
    scene.take_sample(80)
    assert scene.take_sample(1_009) is None
    scene.threads.sending = blocked
    assert scene.take_sample(1_013) == waits(SEND, 80, Cause.PEER_WINDOW, blocked.tid)


def test_a_blocked_sender_with_all_its_data_out_is_not_held_up_by_the_buffer():
    """Everything written has been transmitted: whatever the thread shows, nothing is held back."""
    scene = Scene()
    scene.threads.sending = Blocked(TID)
    scene.tcp.at(53).send(1_009, acked=False)
    scene.take_sample(60)
    assert scene.take_sample(1_009) is None


@pytest.mark.parametrize(
    ("wmem", "limited_us", "waiting"),
    [
        (SNDBUF * 2 // 3 + 1, 7_000, True),
        (SNDBUF * 2 // 3, 7_000, False),
        (SNDBUF * 2 // 3 + 1, 0, False),
    ],
)
def test_a_sender_that_is_unreadable_is_decided_by_the_kernels_account(wmem, limited_us, waiting):
    """Another user's: full, and held up by the peer's window since the last sample; no pid."""
    scene = Scene()
    scene.owner = None
    scene.tcp.at(53).send(1_009)
    scene.take_sample(60)
    scene.tcp.at(71).written += 70_001
    scene.tcp.wmem = wmem
    scene.take_sample(80)
    scene.tcp.rwnd_limited_us = limited_us
    assert scene.take_sample(180) == (waits(SEND, 80, Cause.PEER_WINDOW) if waiting else None)


@pytest.mark.parametrize("state", [FIN_WAIT1, LAST_ACK, CLOSING])
def test_a_process_in_close_waits_until_the_peer_has_all(state):
    """SO_LINGER: since the buffer was full; without a thread in close() it went on long ago."""
    scene = full_sender()
    vars(scene.tcp).update(HELD | {"snd_wnd": 0, "state": state, "fin_sent": 1})
    assert scene.take_sample(200) is None
    scene.threads.closing = Blocked(TID)
    assert scene.take_sample(300) == waits(SEND, 53, Cause.PEER_WINDOW, TID)
    scene.tcp.at(311).inode = 0
    assert scene.take_sample(320) is None
    assert scene.stalls() == [(SEND, 267, Cause.PEER_WINDOW)]


# Connecting


def test_a_handshake_that_does_not_finish_is_a_stall():
    """From the connect on, until the connection is made."""
    scene = Scene(Tcp(state=SYN_SENT))
    assert scene.take_sample(99) is None
    assert scene.take_sample(100) == waits(CONNECT, 0, Cause.CONNECTING)
    scene.tcp.timer_retries = 1
    assert scene.take_sample(1_050) == waits(CONNECT, 0, Cause.CONNECTING)
    scene.tcp.state = ESTABLISHED
    assert scene.take_sample(1_061) is None
    assert scene.stalls() == [(CONNECT, 1_061, Cause.CONNECTING)]


def test_a_handshake_first_seen_in_its_middle_has_waited_for_its_retries():
    """Three retries take three seconds at least, and no more is claimed."""
    tcp = Tcp(state=SYN_SENT)
    tcp.timer_retries = 3
    scene = Scene(tcp.at(5_000))
    assert scene.connection.wait == waits(CONNECT, 2_000, Cause.CONNECTING)


def test_before_the_syn_is_sent_none_waits_for_the_handshake():
    """TCP_FASTOPEN_CONNECT: connect() has returned, and the first send begins it."""
    scene = Scene(Tcp(state=SYN_SENT))
    scene.tcp.syn_deferred = True
    for now_ms in (50, 150, 2_500):
        assert scene.take_sample(now_ms) is None
    scene.tcp.syn_deferred = False
    assert scene.take_sample(2_520) is None
    assert scene.take_sample(2_600) == waits(CONNECT, 2_500, Cause.CONNECTING)
    scene.tcp.state = ESTABLISHED
    assert scene.take_sample(2_640) is None
    assert scene.stalls() == [(CONNECT, 140, Cause.CONNECTING)]


def test_a_writer_that_is_sent_again_is_no_reader():
    """What overran the peer's buffer is sent again while the process goes on writing: no reply is
    awaited, although an answer once came and the first of it lies unanswered for long.
    """
    scene = answered_once()
    for n in range(1, 8):
        scene.tcp.at(40 + n * 53).send(1_009, acked=False).written += 2_003
        scene.tcp.backoff = scene.tcp.retransmits = 1
        assert scene.take_sample(40 + n * 53 + 10) is None
    assert scene.stalls() == []
