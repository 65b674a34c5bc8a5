"""Each rule of the sampler's stalls, on connections whose every byte and millisecond is known."""

from __future__ import annotations

import pytest
from tcp_model import (
    BOOT_NS,
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    MS,
    OWNER,
    SNDBUF,
    SOCKET,
    SYN_SENT,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    Tcp,
)

from xctl_probe.dialogue import Dialogue
from xctl_probe.facts import Cause, Direction, Process, Stall
from xctl_probe.fallback.connection import Connection, Wait
from xctl_probe.fallback.evidence import Blocked
from xctl_probe.fallback.sock_diag import watch_of
from xctl_probe.fallback.stalls import Judge
from xctl_probe.peers.replies import Replies

STALL_MS = 100
INTERVAL_MS = 200
TID = 239


class Threads:
    """What the process shows: a blocked thread or event loop for either way, or neither."""

    def __init__(self):
        self.sending: Blocked | None = None
        self.receiving: Blocked | None = None

    def of_sending(self, _connection):
        return self.sending

    def of_receiving(self, _connection):
        return self.receiving


class Scene:
    """A connection that is looked at; `tcp` is what happens to it meanwhile."""

    def __init__(self, tcp=None, peer=None):
        self.tcp = tcp or Tcp()
        self.threads = Threads()
        self.judge = Judge(STALL_MS * MS, self.threads, Replies(STALL_MS * MS))
        sample, now_ns = self.tcp.sample(), self.tcp.now_ns
        self.connection = Connection(
            SOCKET, sample, watch_of(b""), None, sample.opened, peer or Dialogue(), now_ns,
            sample.mark, flow_bytes=sample.received_payload,
        )  # fmt: skip
        self.connection.meet(now_ns, 0)
        self.owner: Process | None = OWNER
        self.looked_ns = now_ns
        self.judge.judge(self.connection, self.owner, now_ns)

    def look(self, now_ms):
        """The wait that a look at this time finds."""
        tcp = self.tcp.at(now_ms)
        self.connection.observe(tcp.sample(), tcp.now_ns, self.looked_ns, STALL_MS * MS)
        self.judge.judge(self.connection, self.owner, tcp.now_ns)
        self.looked_ns = tcp.now_ns
        return self.connection.wait

    def ends_interval(self, now_ms):
        wait = self.look(now_ms)
        self.connection.interval_ended(INTERVAL_MS * MS)
        return wait

    def stalls(self):
        """(direction, ms, cause) of each stall that ended since the last call."""
        ended, self.connection.ended = self.connection.ended, []
        assert all(s.owner == OWNER and s.socket == SOCKET and not s.ongoing for s in ended)
        assert all(s.duration_ns % MS == 0 for s in ended)
        return [(s.direction, s.duration_ns // MS, s.cause) for s in ended]


def since(ms):
    return BOOT_NS + ms * MS


def waits(direction, since_ms, cause, tid=None):
    return Wait(direction, since(since_ms), cause, tid)


SEND, RECEIVE, CONNECT = Direction.SEND, Direction.RECEIVE, Direction.CONNECT
NO_REPLY = Cause.NO_REPLY


def answered_once(peer=None, tick_ms=1):
    """A client whose first request, of 7 bytes at 10 ms, was answered at 31 ms."""
    scene = Scene(Tcp(tick_ms=tick_ms), peer)
    scene.tcp.at(10).send(7)
    scene.look(20)
    scene.tcp.at(31).receive(13)
    scene.look(40)
    return scene


# Requests and replies


def test_a_reply_that_stays_out_is_a_stall_from_the_request_on():
    """After one answered exchange the next request waits: known to the ms at both ends."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    assert scene.look(60) is None
    assert scene.look(152) is None
    assert scene.look(153) == waits(RECEIVE, 53, NO_REPLY)
    assert scene.look(400) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.at(462).receive(13)
    assert scene.look(479) is None
    assert scene.stalls() == [(RECEIVE, 409, NO_REPLY)]
    assert scene.look(2_000) is None
    assert scene.stalls() == []


def test_a_wait_shorter_than_the_threshold_is_none():
    """A reply 99 ms after its request leaves nothing, though the next look is late."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.look(100)
    scene.tcp.at(152).receive(13)
    assert scene.look(700) is None
    assert scene.stalls() == []


def test_a_first_request_waits_only_when_a_thread_is_blocked_for_its_reply():
    """Without a past the thread decides; and without a thread there is no stall."""
    scene = Scene()
    scene.tcp.at(10).send(7)
    assert scene.look(1_009) is None
    scene.threads.receiving = Blocked(TID)
    assert scene.look(1_013) == waits(RECEIVE, 10, NO_REPLY, TID)
    scene.tcp.at(1_019).receive(1)
    assert scene.look(1_021) is None
    assert scene.stalls() == [(RECEIVE, 1_009, NO_REPLY)]


def test_a_pipelined_request_does_not_move_the_beginning():
    """A second request sent soon after the first waits since the first."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.look(60)
    scene.tcp.at(71).send(7)
    scene.look(80)
    assert scene.look(160) == waits(RECEIVE, 53, NO_REPLY)


def conversation(exchanges):
    """A client that was answered as often, each time 11 ms after a request every 100 ms."""
    scene = Scene()
    for n in range(1, exchanges + 1):
        scene.tcp.at(n * 100).send(7)
        scene.look(n * 100 + 3)
        scene.tcp.at(n * 100 + 11).receive(13)
        scene.look(n * 100 + 13)
    assert scene.connection.dialogue == Dialogue(exchanges, 0)
    return scene


def test_a_steady_client_that_asks_again_is_in_the_same_stall():
    """After eight exchanges, asking again while stalled neither ends the stall nor restarts it."""
    scene = conversation(8)
    scene.tcp.at(1_000).send(7)
    assert scene.look(1_103) == waits(RECEIVE, 1_000, NO_REPLY)
    scene.tcp.at(1_300).send(7)
    assert scene.look(1_310) == waits(RECEIVE, 1_000, NO_REPLY)
    assert scene.stalls() == []
    assert scene.connection.dialogue == Dialogue(8, 0)


def test_a_young_client_that_sends_on_may_be_a_log_sender():
    """After one answer, sending on without another leaves it open: the stall ends there."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    assert scene.look(160) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.at(300).send(7)
    assert scene.look(310) is None
    assert scene.stalls() == [(RECEIVE, 257, NO_REPLY)]
    assert scene.look(3_000) is None


@pytest.mark.parametrize("look_ms", [463, 479, 559, 700])
def test_an_answered_wait_followed_by_another_gives_two_stalls(look_ms):
    """Reply and next request between two looks: the first ends exactly, the second begins."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.look(200)
    scene.tcp.at(461).receive(13)
    scene.tcp.at(462).send(7)
    scene.look(look_ms)
    assert scene.stalls() == [(RECEIVE, 408, NO_REPLY)]
    assert scene.look(701) == waits(RECEIVE, 462, NO_REPLY)
    scene.tcp.at(811).receive(13)
    assert scene.look(823) is None
    assert scene.stalls() == [(RECEIVE, 349, NO_REPLY)]


def test_the_coarse_clock_moves_a_stall_by_less_than_a_tick():
    """With a tick of 4 ms the length is within one of the truth."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(53).send(7)
    scene.look(200)
    scene.tcp.at(462).receive(13)
    scene.look(479)
    ((_, duration_ms, _),) = scene.stalls()
    assert abs(duration_ms - 409) < 4


# Who spoke last within one tick: the segments tell


@pytest.mark.parametrize(
    ("pending", "out", "inward", "waiting"),
    [
        (False, 1, 1, False),  # asked and answered
        (False, 2, 1, True),  # asked, answered, asked
        (False, 3, 2, True),
        (False, 7, 7, False),
        (True, 1, 1, True),  # answered and asked again
        (True, 1, 2, False),
        (True, 6, 7, False),
        (True, 7, 7, True),
    ],
)
def test_within_one_tick_the_segments_tell_whose_turn_it_is(pending, out, inward, waiting):
    """As many in as out leave the turn where it was; one more out hands it to the peer."""
    scene = answered_once(tick_ms=4)
    if pending:
        scene.tcp.at(44).send(7)
        scene.look(48)
    tcp = scene.tcp.at(60)
    tcp.send(7 * out, segments=out).receive(13 * inward, segments=inward)
    scene.look(64)
    assert scene.look(300) == (waits(RECEIVE, 60, NO_REPLY) if waiting else None)


def test_within_one_tick_data_not_acknowledged_came_last():
    """What the peer has not acknowledged was sent after what it said."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(60).receive(13, segments=3).send(7, acked=False)
    scene.look(64)
    scene.tcp.acked = scene.tcp.written
    assert scene.look(300) == waits(RECEIVE, 60, NO_REPLY)


def test_within_one_tick_a_late_acknowledgement_tells_who_came_last():
    """A bare ACK 40 ms after the peer's data was for ours; the answer to a keepalive is not."""
    for late_ms, waiting in ((40, waits(RECEIVE, 60, NO_REPLY)), (1_000, None)):
        scene = answered_once(tick_ms=4)
        scene.tcp.at(60).receive(13, segments=3).send(7)
        scene.look(64)
        scene.tcp.at(60 + late_ms).acknowledge()
        scene.look(64 + late_ms)
        assert scene.look(1_300) == waiting


def test_the_later_tick_spoke_last_whatever_the_segments():
    """Where the clock tells, it decides: a long reply in many segments ends the turn."""
    scene = answered_once(tick_ms=4)
    scene.tcp.at(60).send(7, segments=5)
    scene.tcp.at(64).receive(13)
    scene.look(68)
    assert scene.look(296) is None
    scene.tcp.at(300).receive(13, segments=17)
    scene.tcp.at(304).send(7)
    scene.look(308)
    assert scene.look(500) == waits(RECEIVE, 304, NO_REPLY)


# Those that wait for no reply


@pytest.mark.parametrize("period_ms", [50, 101, 150, 1_000])
@pytest.mark.parametrize("look_ms", [25, 97])
def test_a_one_way_sender_never_waits_for_a_reply(period_ms, look_ms):
    """Logs and metrics, more or less often than the threshold: no answer is expected."""
    scene = Scene()
    now_ms = 0
    for n in range(1, 12):
        while now_ms + look_ms <= n * period_ms:
            now_ms += look_ms
            assert scene.look(now_ms) is None
        scene.tcp.at(n * period_ms).send(101)
    assert scene.look(60_000) is None
    assert scene.stalls() == []


def test_a_log_sender_stays_one_though_a_thread_is_blocked_in_a_receive():
    """Once sends have gone unanswered, a thread that reads for a close proves nothing."""
    scene = Scene()
    for n in range(1, 4):
        scene.tcp.at(n * 150).send(101)
        scene.look(n * 150 + 11)
    scene.threads.receiving = Blocked(TID)
    assert scene.look(3_000) is None


def test_one_greeting_does_not_make_a_log_sender_a_client():
    """Answered at login, never again: by the first phase left alone no more stalls."""
    scene = answered_once()
    for n in range(1, 9):
        scene.tcp.at(n * 150).send(101)
        scene.look(n * 150 + 11)
    assert scene.connection.dialogue == scene.connection.peer == Dialogue(1, 7)
    assert scene.look(9_000) is None


def test_a_steady_conversation_survives_one_slip():
    """One phase in eight without its answer is a slip; the wait is a stall all the same."""
    scene = conversation(8)
    scene.tcp.at(1_000).send(7)
    scene.look(1_003)
    scene.tcp.at(1_100).send(7)
    assert scene.look(1_103) == waits(RECEIVE, 1_000, NO_REPLY)
    assert scene.connection.dialogue == Dialogue(8, 1)


def test_one_slip_in_a_shorter_conversation_decides_against_it():
    """Seven answers do not outweigh one phase without: the evidence does not decide."""
    scene = conversation(7)
    scene.tcp.at(1_000).send(7)
    scene.look(1_003)
    scene.tcp.at(1_100).send(7)
    assert scene.look(1_103) is None
    assert scene.connection.dialogue == Dialogue(7, 1)


def test_a_retransmit_is_not_a_send_of_the_process():
    """While the kernel sends again with growing backoff, no phase counts as unanswered."""
    scene = answered_once()
    scene.tcp.at(53).send(7, acked=False)
    scene.look(60)
    scene.tcp.backoff = scene.tcp.retransmits = 3
    scene.tcp.at(300).send(7, acked=False)
    assert scene.look(303) == waits(RECEIVE, 53, Cause.LOSS)
    assert scene.connection.dialogue.unanswered == 0


@pytest.mark.parametrize("blocked", [None, Blocked(TID)])
def test_a_subscriber_that_is_quiet_after_data_never_waits(blocked):
    """Subscribed once, events since: the silence between two events is no stall."""
    scene = answered_once()
    scene.threads.receiving = blocked
    for now_ms in (700, 1_009, 4_001):
        scene.tcp.at(now_ms).receive(1_013)
        assert scene.look(now_ms + 7) is None
        assert scene.ends_interval(now_ms + 200) is None
    assert scene.look(90_001) is None
    assert scene.stalls() == []


def test_an_idle_connection_never_waits():
    """A pool's connection that has said nothing yet is not stalled, whatever the thread does."""
    scene = Scene()
    scene.threads.receiving = Blocked(TID)
    assert scene.look(90_001) is None
    assert scene.connection.quiet


@pytest.mark.parametrize("blocked", [None, Blocked(TID)])
def test_an_accepted_connection_never_waits_to_receive(blocked):
    """A server that has answered and reads the next request is idle, not stalled."""
    scene = Scene(Tcp(opened=False))
    scene.threads.receiving = blocked
    for n in range(1, 6):
        scene.tcp.at(n * 200).receive(7)
        assert scene.look(n * 200 + 3) is None
        scene.tcp.at(n * 200 + 11).send(13)
        assert scene.look(n * 200 + 13) is None
    assert scene.look(90_001) is None
    scene.tcp.rmem = 2_304  # not even for a hole: it may be the rest of a request
    assert scene.look(90_501) is None
    assert scene.stalls() == []


def test_a_fin_is_no_answer():
    """A server that closes without a word has not answered; no wait goes on after it."""
    scene = Scene()
    scene.tcp.at(10).send(7)
    scene.look(20)
    scene.tcp.state, scene.tcp.fin_received = CLOSE_WAIT, 1
    scene.threads.receiving = Blocked(TID)
    assert scene.look(300) is None
    assert scene.connection.dialogue == Dialogue(0, 0)
    assert scene.connection.peer == Dialogue(0, 0)


def test_a_fin_ends_a_stall_when_it_is_seen():
    """A reply that never comes ends with the connection, not with a time made up."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    assert scene.look(200) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.state, scene.tcp.fin_received = CLOSE_WAIT, 1
    assert scene.look(300) is None
    assert scene.stalls() == [(RECEIVE, 247, NO_REPLY)]


def test_a_half_closed_client_still_waits_for_its_reply():
    """After shutdown(SHUT_WR) right behind the request the reply is outstanding all the same."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.look(60)
    scene.tcp.state, scene.tcp.fin_sent, scene.tcp.fin_acked = FIN_WAIT2, 1, 1
    scene.look(64)
    assert scene.look(160) == waits(RECEIVE, 53, NO_REPLY)


def test_our_fin_is_not_a_second_request():
    """shutdown(SHUT_WR) in the middle of the wait does not make the request an unanswered one."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.look(60)
    scene.tcp.state, scene.tcp.fin_sent, scene.tcp.fin_acked = FIN_WAIT2, 1, 1
    assert scene.look(160) == waits(RECEIVE, 53, NO_REPLY)


def test_our_fin_is_no_request():
    """A client that has its answer and closes its side asks for nothing by that."""
    scene = answered_once()
    scene.tcp.at(53).state = FIN_WAIT2
    scene.tcp.fin_sent = scene.tcp.fin_acked = 1
    assert scene.look(60) is None
    assert scene.look(9_000) is None


def test_nobody_waits_for_a_socket_that_no_process_has():
    """Closed by its process and not yet gone, inode 0: no stall, and a running one ends."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    assert scene.look(200) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.inode = 0
    assert scene.look(251) is None
    assert scene.stalls() == [(RECEIVE, 198, NO_REPLY)]


def test_an_unread_reply_is_the_process_own_affair():
    """With data in the receive queue the network has delivered."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.tcp.rqueue = scene.tcp.rmem = 13
    assert scene.look(500) is None


# Met in mid-life


@pytest.mark.parametrize(("segments_in", "waiting"), [(7, False), (8, True), (50, True)])
def test_a_long_conversation_met_in_mid_life_is_known_by_its_sums(segments_in, waiting):
    """Eight segments in, or half as many as out, make it one without having watched it."""
    tcp = Tcp().at(50).receive(1_009, segments=segments_in).at(61).send(7)
    scene = Scene(tcp.at(70))
    assert scene.look(300) == (waits(RECEIVE, 61, NO_REPLY) if waiting else None)


def test_many_more_segments_out_than_in_are_no_conversation():
    """A sender with a few answers is not taken for a client of request and reply."""
    tcp = Tcp().at(50).receive(1_009, segments=11).at(61).send(7, segments=100)
    scene = Scene(tcp.at(70))
    assert scene.look(300) is None


def test_a_stall_that_began_before_the_first_look_has_its_whole_length():
    """The kernel remembers when the request went out."""
    tcp = Tcp().at(50).receive(1_009, segments=11).at(61).send(7)
    scene = Scene(tcp.at(5_000))
    assert scene.connection.wait == waits(RECEIVE, 61, NO_REPLY)


def test_a_reply_before_the_first_look_counts_as_an_answer():
    """Met after an exchange, the next request is expected to be answered."""
    tcp = Tcp().at(10).send(7).at(31).receive(13)
    scene = Scene(tcp.at(40))
    assert scene.connection.dialogue == Dialogue(1, 0)
    scene.tcp.at(53).send(7)
    scene.look(60)
    assert scene.look(160) == waits(RECEIVE, 53, NO_REPLY)


def test_a_whole_exchange_between_two_looks_counts_as_answered():
    """Asked and answered before anybody looked: the next request is expected to be answered."""
    scene = Scene()
    scene.tcp.at(10).send(7)
    scene.tcp.at(13).receive(13)
    scene.look(20)
    assert scene.connection.dialogue == scene.connection.peer == Dialogue(1, 0)


def test_a_sender_met_in_mid_life_has_been_held_up_since_its_last_segment():
    """Data waits unsent and a thread is blocked: since what last went out, not since we looked."""
    tcp = Tcp().at(53).send(1_009)
    tcp.written += 1_013
    scene = Scene(tcp.at(5_000))
    scene.threads.sending = Blocked(TID)
    assert scene.look(5_001) == waits(SEND, 53, Cause.PEER_WINDOW, TID)


# What another connection to the same endpoint has shown


def test_another_connection_to_the_same_endpoint_is_evidence():
    """A pool's new connection waits for its first reply as the others did."""
    peer = Dialogue()
    answered_once(peer)
    assert peer == Dialogue(1, 0)
    scene = Scene(peer=peer)
    scene.tcp.at(10).send(7)
    scene.look(20)
    assert scene.look(110) == waits(RECEIVE, 10, NO_REPLY)


def test_an_endpoint_that_mostly_does_not_answer_is_no_evidence():
    """Where sends to it go on unanswered, a new connection is not judged by one answer."""
    scene = Scene(peer=Dialogue(answered=7, unanswered=1))
    scene.tcp.at(10).send(7)
    scene.look(20)
    assert scene.look(3_000) is None


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("delivered", NO_REPLY),
        ("lost", Cause.LOSS),
        ("on its way", None),
        ("held", Cause.PEER_WINDOW),
    ],
)
def test_the_cause_of_a_missing_reply(script, cause):
    """Delivered, lost, on its way or held back by the peer's window: each is told apart."""
    scene = answered_once()
    scene.tcp.at(53).send(7, acked=script == "delivered")
    if script == "lost":
        scene.tcp.retransmits = 1
    if script == "held":
        scene.tcp.acked, scene.tcp.written = scene.tcp.transmitted, scene.tcp.written + 1_009
    scene.look(60)
    assert scene.look(160) == waits(RECEIVE, 53, cause)


# Sending


def full_sender(**options):
    """A sender whose buffer was seen full at 60 ms; its last segment went out at 53 ms."""
    scene = Scene(Tcp(**options))
    scene.look(50)
    scene.tcp.at(53).send(1_009, acked=False).fill(80_021)
    scene.look(60)
    return scene


@pytest.mark.parametrize("opened", [True, False])
def test_a_full_buffer_is_a_send_stall_on_either_side(opened):
    """From the last segment that went out, until the buffer has drained below two thirds."""
    scene = full_sender(opened=opened)
    assert scene.look(152) is None
    assert scene.look(153) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.tcp.wmem = SNDBUF * 2 // 3 + 1  # not yet woken: sk_stream_is_writeable()
    assert scene.look(301) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.tcp.wmem = SNDBUF * 2 // 3
    assert scene.look(400) is None
    assert scene.stalls() == [(SEND, 347, Cause.SEND_BUFFER)]


def test_a_full_buffer_after_the_peers_fin_is_a_stall_too():
    """The peer has closed its side and still does not read."""
    scene = full_sender()
    scene.tcp.state, scene.tcp.fin_received = CLOSE_WAIT, 1
    assert scene.look(200) == waits(SEND, 53, Cause.SEND_BUFFER)


def test_a_buffer_that_is_nearly_full_is_no_stall():
    """One byte of room, nobody blocked: the sender goes on."""
    scene = Scene()
    scene.tcp.at(53).send(1_009, acked=False).fill(80_021)
    scene.tcp.wmem = SNDBUF - 1
    scene.look(60)
    assert scene.look(3_000) is None


def test_progress_in_a_full_buffer_begins_anew():
    """Full again after the process got something in: one stall ended, another may begin."""
    scene = full_sender()
    assert scene.look(200) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.tcp.at(211).send(1_009, acked=False)
    assert scene.look(220) is None
    assert scene.stalls() == [(SEND, 167, Cause.SEND_BUFFER)]
    assert scene.look(311) == waits(SEND, 211, Cause.SEND_BUFFER)


def test_a_bulk_sender_that_keeps_moving_is_not_stalled():
    """A buffer that is full at every look, and has taken more each time, is a busy one."""
    scene = full_sender()
    for now_ms in range(100, 2_000, 50):
        scene.tcp.at(now_ms).send(1_009, acked=False)
        assert scene.look(now_ms + 7) is None
    assert scene.stalls() == []


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"timer": TIMER_PROBE}, Cause.PEER_WINDOW),
        ({"probes": 1}, Cause.PEER_WINDOW),
        ({"timer": TIMER_RETRANSMIT, "retransmits": 1}, Cause.LOSS),
        ({"timer": TIMER_RETRANSMIT, "retransmits": 0}, Cause.SEND_BUFFER),
        ({"acked": 1_009}, Cause.PEER_WINDOW),
    ],
)
def test_the_cause_of_a_send_stall(change, cause):
    """The timer, the probes and what is in flight tell why the buffer does not drain."""
    scene = full_sender()
    vars(scene.tcp).update(change)
    assert scene.look(200) == waits(SEND, 53, cause)


@pytest.mark.parametrize("blocked", [Blocked(TID), Blocked(None)], ids=["thread", "event loop"])
def test_a_sender_held_up_below_its_buffer_size_is_known_by_its_process(blocked):
    """TCP_NOTSENT_LOWAT and the like: a blocked thread or event loop, since the last write."""
    scene = Scene()
    scene.tcp.at(53).send(1_009)
    scene.look(60)
    scene.tcp.at(71).written += 1_013
    scene.look(80)
    assert scene.look(1_009) is None
    scene.threads.sending = blocked
    assert scene.look(1_013) == waits(SEND, 80, Cause.PEER_WINDOW, blocked.tid)


def test_a_blocked_sender_with_all_its_data_out_is_not_held_up_by_the_buffer():
    """Everything written has been transmitted: whatever the thread says, nothing is held back."""
    scene = Scene()
    scene.threads.sending = Blocked(TID)
    scene.tcp.at(53).send(1_009, acked=False)
    scene.look(60)
    assert scene.look(1_009) is None


@pytest.mark.parametrize(
    ("wmem", "limited_us", "waiting"),
    [
        (SNDBUF * 2 // 3 + 1, 7_000, True),
        (SNDBUF * 2 // 3, 7_000, False),
        (SNDBUF * 2 // 3 + 1, 0, False),
    ],
)
def test_a_sender_nobody_may_look_into_is_judged_by_the_kernels_account(wmem, limited_us, waiting):
    """Another user's: crowded, and held up by the peer's window since the last look; no pid."""
    scene = Scene()
    scene.owner = None
    scene.tcp.at(53).send(1_009)
    scene.look(60)
    scene.tcp.at(71).written += 70_001
    scene.tcp.wmem = wmem
    scene.look(80)
    scene.tcp.rwnd_limited_us = limited_us
    assert scene.look(180) == (waits(SEND, 80, Cause.PEER_WINDOW) if waiting else None)


# Connecting


def test_a_handshake_that_does_not_finish_is_a_stall():
    """From the connect on, until the connection is made."""
    scene = Scene(Tcp(state=SYN_SENT))
    assert scene.look(99) is None
    assert scene.look(100) == waits(CONNECT, 0, Cause.CONNECTING)
    scene.tcp.timer_retries = 1
    assert scene.look(1_050) == waits(CONNECT, 0, Cause.CONNECTING)
    scene.tcp.state = ESTABLISHED
    assert scene.look(1_061) is None
    assert scene.stalls() == [(CONNECT, 1_061, Cause.CONNECTING)]


def test_a_handshake_met_in_its_middle_has_waited_for_its_retries():
    """Three retries take three seconds at least, and no more is claimed."""
    tcp = Tcp(state=SYN_SENT)
    tcp.timer_retries = 3
    scene = Scene(tcp.at(5_000))
    assert scene.connection.wait == waits(CONNECT, 2_000, Cause.CONNECTING)


# Receiving, in mid-stream


def test_a_hole_in_the_sequence_is_a_stall_of_loss():
    """Out-of-order data waits for what is missing: from the last look without it to its end."""
    scene = answered_once()
    scene.look(207)
    scene.tcp.at(211).segments_in += 1
    scene.tcp.rmem = 2_304
    scene.look(220)
    assert scene.look(306) is None
    assert scene.look(307) == waits(RECEIVE, 207, Cause.LOSS)
    scene.tcp.at(431).receive(1_009).rmem = 0
    assert scene.look(440) is None
    assert scene.stalls() == [(RECEIVE, 224, Cause.LOSS)]


def test_a_hole_that_is_filled_and_opens_again_begins_anew():
    """Data that came in between is progress: the stall ends with it."""
    scene = answered_once()
    scene.look(207)
    scene.tcp.rmem = 2_304
    assert scene.look(307) == waits(RECEIVE, 207, Cause.LOSS)
    scene.tcp.at(431).receive(1_009)
    assert scene.look(440) is None
    assert scene.stalls() == [(RECEIVE, 224, Cause.LOSS)]
    assert scene.look(531) == waits(RECEIVE, 431, Cause.LOSS)


def test_data_that_waits_for_its_reader_is_no_hole():
    """Memory is used because the process does not read."""
    scene = answered_once()
    tcp = scene.tcp.at(211).receive(1_009)
    tcp.rmem, tcp.rqueue = 2_304, 1_009
    assert scene.look(1_013) is None


def download(intervals, each_bytes):
    """A transfer that ran for as many whole intervals, its last data 1 ms before each end."""
    scene = answered_once()
    scene.ends_interval(200)
    for n in range(1, intervals + 1):
        now_ms = 200 + n * INTERVAL_MS
        scene.tcp.at(now_ms - 1).receive(each_bytes, segments=101)
        scene.ends_interval(now_ms)
    return scene


def test_a_steady_flow_that_breaks_off_under_a_blocked_reader_is_a_stall():
    """Three intervals at 1 MB/s, then silence, and a thread that wants more."""
    scene = download(3, 200_003)
    scene.threads.receiving = Blocked(TID)
    assert scene.look(898) is None
    assert scene.look(899) == waits(RECEIVE, 799, None, TID)
    assert scene.ends_interval(1_000) == waits(RECEIVE, 799, None, TID)
    scene.tcp.at(1_201).receive(1_009)
    assert scene.look(1_207) is None
    assert scene.stalls() == [(RECEIVE, 402, None)]


@pytest.mark.parametrize(
    ("intervals", "each_bytes"), [(2, 200_003), (3, 199_999), (17, 1_009)], ids=str
)
def test_what_was_no_steady_flow_has_not_broken_off(intervals, each_bytes):
    """Too short or too thin: a feed that pauses is no stall, though a thread reads."""
    scene = download(intervals, each_bytes)
    scene.threads.receiving = Blocked(TID)
    assert scene.look(9_000) is None


def test_a_download_that_is_over_is_no_stall():
    """Nobody reads for more; and a thread that does so later waits for something else."""
    scene = download(5, 1_000_003)
    assert scene.look(1_500) is None
    scene.threads.receiving = Blocked(TID)
    assert scene.look(9_000) is None


def test_a_flow_that_thinned_out_has_not_broken_off():
    """A last interval with little data is how a transfer ends."""
    scene = download(5, 1_000_003)
    scene.threads.receiving = Blocked(TID)
    scene.tcp.at(1_201).receive(1_009)
    assert scene.look(1_299) is None
    scene.connection.interval_ended(INTERVAL_MS * MS)
    assert scene.look(9_000) is None


def test_a_silent_interval_before_it_is_steady_begins_the_count_anew():
    """Two intervals, a pause, one interval: never three on end."""
    scene = download(2, 1_000_003)
    scene.ends_interval(800)
    scene.tcp.at(999).receive(1_000_003)
    scene.ends_interval(1_000)
    scene.threads.receiving = Blocked(TID)
    assert scene.look(9_000) is None


# What the judge hands on


def test_a_stall_that_turns_into_another_kind_ends_first():
    """A missing reply that becomes a full buffer is two stalls, one after the other."""
    scene = answered_once()
    scene.tcp.at(53).send(7)
    assert scene.look(160) == waits(RECEIVE, 53, NO_REPLY)
    scene.tcp.at(171).send(1_009, acked=False).fill(80_021)
    scene.look(180)
    wait = scene.look(400)
    assert wait is not None
    assert (wait.direction, wait.cause) == (SEND, Cause.SEND_BUFFER)
    ((direction, duration_ms, cause),) = scene.stalls()
    assert (direction, cause) == (RECEIVE, NO_REPLY)
    assert duration_ms in (400 - 53, 180 - 53)


def test_a_connection_that_ends_closes_its_stall():
    """The fact has the owner, the socket and the whole length."""
    scene = full_sender()
    assert scene.look(200) == waits(SEND, 53, Cause.SEND_BUFFER)
    scene.judge.end(scene.connection, OWNER, since(464))
    assert scene.connection.ended == [
        Stall(OWNER, SOCKET, SEND, 411 * MS, False, Cause.SEND_BUFFER, None)
    ]
    scene.judge.end(scene.connection, OWNER, since(700))
    assert len(scene.connection.ended) == 1


def test_a_quiet_connection_is_one_that_only_new_activity_can_stall():
    """Answered and acknowledged it is quiet; waiting, full, in flight or flowing it is not."""
    assert answered_once().connection.quiet
    scene = answered_once()
    scene.tcp.at(53).send(7)
    scene.look(60)
    assert not scene.connection.quiet
    assert not full_sender().connection.quiet
    assert not download(1, 200_003).connection.quiet
    assert not Scene(Tcp(state=SYN_SENT)).connection.quiet
