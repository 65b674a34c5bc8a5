"""Which reply waits are reported: by the peer, by the history, by the options of the user."""

from __future__ import annotations

import pytest
from support.fake_peer import FakePeer

from xctl_probe.events import Cause, Process, Socket
from xctl_probe.linux.process_activity import Activity, OwnActivity
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyStall, ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory, Usual

MS = 1_000_000
STALL_MS = 100
CLIENT, SERVER = Process(233, 7_001, "client"), Process(239, 7_003, "server")
PORT = 6_379


class Scene:
    """One wait on one socket, sampled now and then; times in ms.

    Stalls that are only probable are among those it returns with `probable`.
    """

    def __init__(self, *peers, usual=None, probable=False):
        self.probable = probable
        self.peer = FakePeer(process=SERVER)
        self.replies = ReplyWaits(STALL_MS * MS, IgnoredPeers.of(peers), self.peer)
        self.usual = usual or RequestHistory(answered=8)
        self.since_ms = 0

    def asked(
        self, inode=1, owner=CLIENT, delivered=None, since_ms=None, protocol="tcp", **evidence
    ):
        socket = Socket(inode, 7, protocol, "10.0.0.7", 40_009, "10.0.0.11", PORT)
        since_ms = self.since_ms if since_ms is None else since_ms
        return ReplyWait(socket, since_ms * MS, owner, self.usual, delivered, **evidence)

    def take_sample(self, now_ms, shows=None, **asked):
        self.peer.shows = shows or self.peer.shows
        self.replies.begin_sample()
        return self._begin(self.replies.observe(self.asked(**asked), now_ms * MS))

    def end(self, end_ms, **asked):
        return self._begin(self.replies.close(self.asked(**asked), end_ms * MS))

    def _begin(self, stall):
        wanted = stall is not None and (self.probable or not stall.probable)
        return stall.since_ns // MS if wanted else None


# What the peer shows


@pytest.mark.parametrize(
    "shows", [PeerState.UNKNOWN, PeerState.UNREAD, PeerState.REPLY_RETRANSMITTED, PeerState.BUSY]
)
def test_a_wait_is_reported_from_the_request_on(shows):
    """No process has taken the request, or who has it does something else, or who knows."""
    scene = Scene()
    assert scene.take_sample(100, shows) == 0
    assert scene.take_sample(700) == 0
    assert scene.end(900) == 0


@pytest.mark.parametrize("shows", [PeerState.WAITING_FOR_REQUEST, PeerState.UNKNOWN_ACTIVITY])
def test_a_wait_that_the_peer_knows_of_is_silent_to_its_end(shows):
    """Whoever waits for more from us has taken the request; nor is its end reported."""
    scene = Scene()
    for now_ms in (100, 300, 3_600_000):
        assert scene.take_sample(now_ms, shows) is None
    assert scene.end(3_600_100) is None


@pytest.mark.parametrize(
    ("answered", "share", "reported"),
    [(8, 0.5, True), (8, 0.4, False), (7, 1.0, False)],
)
def test_a_peer_that_computes_beside_its_idle_event_loop_has_the_request(answered, share, reported):
    """Half of a core or more, where its replies always came soon."""
    scene = Scene(usual=Usual(RequestHistory(answered=answered), RequestHistory()))
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    for now_ms in (100, 200, 300):
        scene.peer.works = {239: int(now_ms * share) * MS, 241: 7}
        last = scene.take_sample(now_ms)
    assert (last == 0) is reported
    assert (scene.end(350) == 0) is reported


def test_what_a_thread_of_an_idle_peer_computed_before_it_is_read_is_not_counted():
    scene = Scene(usual=Usual(RequestHistory(answered=8), RequestHistory()))
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    for now_ms, works in ((100, {239: 7 * MS}), (200, {241: 999 * MS}), (300, None)):
        scene.peer.works = works
        assert scene.take_sample(now_ms) is None


def test_an_answer_that_is_lost_has_its_cause():
    """The peer has sent it and nothing comes through: that is no missing reply."""
    scene = Scene()
    scene.peer.shows = PeerState.REPLY_RETRANSMITTED
    assert scene.replies.observe(scene.asked(), 100 * MS) == ReplyStall(0, Cause.LOSS)


def test_a_request_on_its_way_is_reported_as_that():
    """It is not known to be lost, and not delivered: no cause can be named."""
    scene = Scene()
    reported = scene.replies.observe(scene.asked(delivered=False), 100 * MS)
    assert reported == ReplyStall(0, None, in_flight=True)


def test_what_finishes_the_expected_wait_begins_a_stall():
    """The peer is stopped in the middle: until the sample before, the wait was an expected one."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.WAITING_FOR_REQUEST) is None
    assert scene.take_sample(5_000) is None
    assert scene.take_sample(5_200, PeerState.BUSY) is None
    assert scene.take_sample(5_299) is None
    assert scene.take_sample(5_300) == 5_200
    assert scene.end(5_700) == 5_200


def test_a_peer_that_takes_its_time_and_then_agrees_was_a_stall_until_then():
    """Reported while it computed; no more once it was in its loop for two samples."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.BUSY) == 0
    assert scene.take_sample(300, PeerState.WAITING_FOR_REQUEST) == 0
    assert scene.take_sample(399) == 0
    assert scene.take_sample(400) is None
    assert scene.end(900) is None


@pytest.mark.parametrize(("end_ms", "reported"), [(301, 0), (399, 0), (400, None), (900, None)])
def test_a_peer_that_is_back_in_its_loop_may_just_have_answered(end_ms, reported):
    """It did so between the samples of the two sockets: the stall is over as it was."""
    scene = Scene()
    scene.take_sample(100, PeerState.BUSY)
    scene.take_sample(300, PeerState.WAITING_FOR_REQUEST)
    assert scene.end(end_ms) == reported


def test_a_peer_that_was_back_in_its_loop_for_one_sample_goes_on_with_the_stall():
    """It was stopped there: nothing has ended."""
    scene = Scene()
    scene.take_sample(100, PeerState.BUSY)
    scene.take_sample(300, PeerState.WAITING_FOR_REQUEST)
    assert scene.take_sample(400, PeerState.BUSY) == 0
    assert scene.end(900) == 0


def test_a_stall_goes_on_while_it_is_not_known_what_the_peer_does():
    """It may be on its way back to its loop; when it is there, the stall is over."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.BUSY) == 0
    assert scene.take_sample(300, PeerState.UNKNOWN_ACTIVITY) == 0
    assert scene.take_sample(500, PeerState.BUSY) == 0
    assert scene.take_sample(700, PeerState.UNKNOWN_ACTIVITY) == 0
    assert scene.take_sample(900, PeerState.WAITING_FOR_REQUEST) == 0
    assert scene.take_sample(1_000) is None


def test_the_next_wait_on_a_socket_is_decided_by_itself():
    """The last wait was an expected one; about this one nothing is known."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.WAITING_FOR_REQUEST) is None
    assert scene.end(400) is None
    scene.since_ms = 403
    assert scene.take_sample(503, PeerState.UNREAD) == 403


def test_the_report_of_an_end_that_comes_after_the_next_wait_began_is_not_of_that():
    """The ring is read late: what ended was another wait, that no sample has seen."""
    scene = Scene()
    scene.since_ms = 403
    assert scene.take_sample(503, PeerState.WAITING_FOR_REQUEST) is None
    assert scene.end(401, since_ms=0) == 0
    assert scene.take_sample(603) is None
    assert len(scene.peer.asked) == 2


@pytest.mark.parametrize(("listens", "reported"), [(True, None), (False, 0)])
def test_a_wait_that_no_sample_has_seen(listens, reported):
    """A peer that keeps listening may intend the wait; one that does not had something to do."""
    scene = Scene()
    scene.peer.listens = listens
    assert scene.end(150) == reported


def test_a_lost_request_is_reported_though_the_peer_listens():
    """Segments were sent again to the end."""
    scene = Scene()
    scene.peer.listens = True
    assert scene.end(350, delivered=False) == 0


def test_no_process_samples_for_the_end_of_a_datagram():
    """It has none."""
    scene = Scene()
    scene.peer.listens = True
    assert scene.take_sample(100, PeerState.WAITING_FOR_REQUEST, protocol="udp") == 0
    assert scene.end(200, protocol="udp", inode=2) == 0
    assert len(scene.peer.asked) == 0


# A peer that waits itself


def proxied(began_ms, owner=SERVER):
    """The client waits for the server, which waits for somebody else since `began_ms`."""
    scene = Scene()
    scene.take_sample(1_000, PeerState.UNREAD, inode=2, owner=owner, since_ms=began_ms)
    return scene


@pytest.mark.parametrize(
    ("began_ms", "reported"), [(0, 0), (99, 0), (100, None), (-10, 0), (-11, None)]
)
def test_a_proxy_that_waits_for_our_answer_itself_is_no_expected_wait(began_ms, reported):
    """It asked on as soon as it was asked; what it asked before, or much later, is its own.

    Both begins are exact to a tick, so the second one may seem to be the first.
    """
    assert proxied(began_ms).take_sample(1_001, PeerState.WAITING_FOR_REQUEST) == reported


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize(("began_ms", "reported"), [(-99, 0), (99, 0), (100, None), (-100, None)])
def test_a_transfer_broke_off_where_the_proxy_that_passes_it_on_waits_itself(
    began_ms, reported, blocked
):
    """Its data came to the proxy just before; what stalled at another time is another transfer."""
    scene = proxied(began_ms)
    for now_ms in (1_001, 1_002):
        shows = PeerState.WAITING_FOR_REQUEST
        last = scene.take_sample(now_ms, shows, transfer=True, blocked=blocked)
    assert last == reported


def test_a_process_is_not_its_own_proxy():
    """Client and server in one process: its stall elsewhere is not this one's."""
    scene = proxied(0, owner=CLIENT)
    scene.peer.process = CLIENT
    assert scene.take_sample(1_001, PeerState.WAITING_FOR_REQUEST) is None


# Peers that cannot be inspected


# Equals


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


def test_a_peer_that_may_not_be_inspected_is_silent_until_something_shows():
    """It has the request; a stall begins with what shows that it does not serve it."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.HIDDEN) is None
    assert scene.take_sample(5_000) is None
    assert scene.take_sample(6_000, PeerState.REPLY_RETRANSMITTED) is None
    assert scene.take_sample(6_100) == 6_000
    assert scene.end(6_500) == 6_000


def test_a_stall_is_over_where_the_request_goes_to_a_peer_that_may_not_be_inspected():
    scene = Scene()
    assert scene.take_sample(100, PeerState.UNREAD) == 0
    assert scene.take_sample(200, PeerState.HIDDEN) is None


@pytest.mark.parametrize(
    ("local", "remote", "reported"),
    [
        ("127.0.0.1", "127.0.0.1", False),
        ("::1", "::1", False),
        ("10.0.0.7", "10.0.0.7", False),
        ("10.0.0.7", "10.0.0.11", True),
    ],
)
@pytest.mark.parametrize("sampled", [True, False])
def test_a_namespace_that_may_not_be_entered_hides_the_peers_in_it(
    local, remote, reported, sampled
):
    """Whose address shows that they are on this host; a request on its way is reported anyway."""
    replies = ReplyWaits(STALL_MS * MS)
    socket = Socket(1, 7, "tcp", local, 40_009, remote, PORT)
    asked = ReplyWait(socket, 0, CLIENT, RequestHistory(answered=8))
    if sampled:
        assert (replies.observe(asked, 200 * MS) is not None) is reported
    assert (replies.close(asked, 300 * MS) is not None) is reported
    lost = asked._replace(delivered=False)
    assert replies.observe(lost, 200 * MS) == ReplyStall(0, None, in_flight=True)


# Transfers


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


# How late a reply is late

REPLY_MS = 1_000


def with_two_lengths(*, usual=None):
    scene = Scene(usual=usual)
    scene.replies = ReplyWaits(STALL_MS * MS, None, scene.peer, REPLY_MS * MS)
    return scene


@pytest.mark.parametrize("shows", [PeerState.UNKNOWN, PeerState.UNREAD, PeerState.BUSY])
def test_a_reply_is_late_after_the_length_for_replies(shows):
    scene = with_two_lengths()
    for now_ms in (100, 500, 999):
        assert scene.take_sample(now_ms, shows) is None
    assert scene.take_sample(1_000) == 0
    assert scene.end(1_500) == 0


@pytest.mark.parametrize(("end_ms", "reported"), [(999, None), (1_000, 0), (1_300, 0)])
@pytest.mark.parametrize("samples", [(), (100, 900)])
def test_a_wait_that_is_over_between_two_samples_counts_in_full(end_ms, reported, samples):
    scene = with_two_lengths()
    for now_ms in samples:
        scene.take_sample(now_ms, PeerState.UNKNOWN)
    assert scene.end(end_ms) == reported


def test_what_the_network_holds_up_is_late_after_the_stall_length():
    scene = with_two_lengths()
    assert scene.take_sample(100, PeerState.REPLY_RETRANSMITTED) == 0
    assert scene.take_sample(200, PeerState.UNKNOWN) is None  # it has come through
    assert scene.end(300) is None


def test_a_request_that_is_retransmitted_is_late_after_the_stall_length():
    """One in flight may have arrived: its acknowledgement may be delayed."""
    scene = with_two_lengths()
    in_flight = scene.asked(delivered=False)
    assert [scene.replies.observe(in_flight, ms * MS) for ms in (100, 200)] == [None, None]
    lost = scene.asked(delivered=False, lost=True)
    assert scene.replies.observe(lost, 300 * MS) == ReplyStall(0, None, in_flight=True)


def test_a_length_for_replies_below_the_stall_length_has_no_effect():
    scene = Scene()
    scene.replies = ReplyWaits(STALL_MS * MS, None, scene.peer, 10 * MS)
    assert scene.take_sample(99, PeerState.BUSY) is None
    assert scene.take_sample(100) == 0


# What is usual


def late(*waits_ms):
    usual, end_ms = RequestHistory(answered=8), 0
    for wait_ms in waits_ms:
        end_ms += wait_ms
        usual.record_latency(wait_ms * MS, STALL_MS * MS, end_ms * MS)
    return usual


def test_long_waits_are_usual_after_three_of_them():
    """Up to twice the longest; beyond that it is a stall, from the request on."""
    scene = Scene(usual=late(1_000, 3_000, 1_500))
    for now_ms in (100, 5_000, 6_000):
        assert scene.take_sample(now_ms) is None
    assert scene.take_sample(6_001) == 0
    assert scene.end(7_000) == 0


def test_a_stall_is_not_over_because_its_peer_can_no_more_be_inspected():
    """On a busy host its process is not read in time; the usual latency begins no stall."""
    scene = Scene(usual=late(1_000, 3_000, 1_500))
    assert scene.take_sample(300, PeerState.BUSY) == 0
    assert scene.take_sample(500, PeerState.UNKNOWN) == 0
    assert scene.take_sample(700, PeerState.BUSY) == 0


@pytest.mark.parametrize("usual", [late(3_000, 3_000), late(*[999] * 23)])
def test_two_late_answers_or_many_that_were_not_late_make_no_usual(usual):
    """Stalls of 300 ms, however many, stay stalls."""
    scene = Scene(usual=usual)
    assert scene.take_sample(300) == 0
    assert scene.end(400, inode=2) == 0


def test_an_end_within_the_usual_is_silent_though_no_sample_saw_the_wait():
    scene = Scene(usual=late(1_000, 1_000, 1_000))
    assert scene.end(2_000) is None
    assert scene.end(2_001, inode=2) == 0


@pytest.mark.parametrize("shows", [PeerState.UNREAD, PeerState.REPLY_RETRANSMITTED, PeerState.BUSY])
def test_what_the_other_end_shows_is_never_usual(shows):
    """Where the peer can be inspected, the history does not decide."""
    assert Scene(usual=late(9_000, 9_000, 9_000)).take_sample(100, shows) == 0


def test_a_request_that_is_not_acknowledged_is_never_usual():
    scene = Scene(usual=late(9_000, 9_000, 9_000))
    assert scene.take_sample(100, delivered=False) == 0


# A peer on another host that is hardly known


@pytest.mark.parametrize(
    ("answered", "blocked", "shows", "reported"),
    [
        (8, False, PeerState.UNKNOWN, True),
        (7, False, PeerState.UNKNOWN, False),
        (0, True, PeerState.UNKNOWN, True),
        (0, False, PeerState.BUSY, True),
    ],
)
@pytest.mark.parametrize("here", [True, False])
def test_the_first_requests_of_an_event_loop_may_be_long_polls(
    answered, blocked, shows, reported, here
):
    """Where eight replies have come, a reply is due; where a thread is in a receive, too."""
    known, new = RequestHistory(answered=answered), RequestHistory()
    scene = Scene(usual=Usual(known, new) if here else Usual(new, known))
    assert (scene.take_sample(60_000, shows, blocked=blocked) == 0) is reported
    assert (scene.end(61_000, blocked=blocked) == 0) is reported


def test_a_connection_with_few_replies_is_not_known_by_others_to_its_peer():
    scene = Scene(usual=Usual(RequestHistory(answered=1), RequestHistory(answered=8)))
    assert scene.take_sample(60_000, PeerState.UNKNOWN) is None


def test_who_announces_itself_waits_no_longer_than_is_usual():
    """A long poll with a time-out of ten seconds begins with few bytes, too."""
    late_before = RequestHistory(answered=8)
    late_before.record_latency(10_000 * MS, STALL_MS * MS, 10_000 * MS)
    late_before.answered += 1
    scene = Scene(usual=Usual(late_before, RequestHistory()))
    asked = {"symmetric": True, "announced": True, "client": False}
    assert scene.take_sample(9_900, PeerState.UNKNOWN, **asked) is None
    assert scene.take_sample(50_100, **asked) == 0


def test_a_stall_goes_on_where_its_peer_cannot_be_seen_any_more():
    scene = Scene(usual=Usual(RequestHistory(), RequestHistory()))
    assert scene.take_sample(100, PeerState.BUSY) == 0
    assert scene.take_sample(200, PeerState.UNKNOWN) == 0


# A peer that answers elsewhere


def test_a_peer_on_another_host_that_answers_other_connections_is_not_late_on_this_one():
    """Also where it was reported before."""
    scene = Scene()
    assert scene.take_sample(100, PeerState.UNKNOWN) == 0
    assert scene.take_sample(300, answered_elsewhere=True) is None
    assert scene.end(900, answered_elsewhere=True) is None


@pytest.mark.parametrize("asked", [{"blocked": True}, {"delivered": False}])
def test_a_thread_that_waits_or_a_request_on_its_way_is_evidence_all_the_same(asked):
    scene = Scene()
    scene.peer.shows = PeerState.UNKNOWN
    if "delivered" in asked:
        scene.peer.shows = PeerState.REQUEST_IN_FLIGHT
    assert scene.take_sample(100, answered_elsewhere=True, **asked) == 0


@pytest.mark.parametrize("shows", [PeerState.UNREAD, PeerState.BUSY])
def test_what_a_peer_on_this_host_shows_decides_whatever_it_answers_elsewhere(shows):
    assert Scene().take_sample(100, shows, answered_elsewhere=True) == 0


# What is only likely


def prompt(*, late_ms=(), answered=8):
    usual = Usual(late(*late_ms), RequestHistory())
    usual.here.answered = answered
    return usual


@pytest.mark.parametrize(
    "shows", [PeerState.WAITING_FOR_REQUEST, PeerState.HIDDEN, PeerState.UNKNOWN_ACTIVITY]
)
def test_a_peer_that_always_replied_soon_has_probably_lost_the_request(shows):
    """Five reply lengths later, from the request on; so is its end."""
    scene = Scene(usual=prompt(), probable=True)
    assert scene.take_sample(100, shows) is None
    assert scene.take_sample(499) is None
    wanted = ReplyStall(0, probable=True)
    assert scene.replies.observe(scene.asked(), 500 * MS) == wanted
    assert scene.replies.close(scene.asked(), 700 * MS) == wanted


@pytest.mark.parametrize(
    "usual",
    [
        prompt(answered=7),
        prompt(late_ms=(1_000, 1_000)),
        Usual(RequestHistory(), RequestHistory(answered=7)),
        RequestHistory(answered=7),
    ],
)
def test_few_replies_or_late_ones_make_nothing_likely(usual):
    scene = Scene(usual=usual, probable=True)
    for now_ms in (100, 500, 3_600_000):
        assert scene.take_sample(now_ms, PeerState.WAITING_FOR_REQUEST) is None
    assert scene.end(3_600_100) is None


def test_replies_to_other_connections_make_it_likely_on_a_new_one():
    scene = Scene(usual=Usual(RequestHistory(), RequestHistory(answered=8)), probable=True)
    assert scene.take_sample(500, PeerState.WAITING_FOR_REQUEST) == 0


def test_what_is_likely_is_certain_from_when_the_peer_turns_to_something_else():
    scene = Scene(usual=prompt(), probable=True)
    assert scene.take_sample(500, PeerState.WAITING_FOR_REQUEST) == 0
    assert scene.take_sample(700, PeerState.BUSY) is None
    scene.replies.begin_sample()
    assert scene.replies.observe(scene.asked(), 800 * MS) == ReplyStall(700 * MS)


def test_a_proxy_that_is_only_likely_to_wait_makes_no_stall_of_its_clients():
    scene = Scene(usual=prompt(), probable=True)
    asked = scene.asked(inode=2, owner=SERVER)  # the proxy's own request, to an idle peer
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    assert scene.replies.observe(asked, 500 * MS) == ReplyStall(0, probable=True)
    scene.usual = RequestHistory()
    assert scene.take_sample(600) is None


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
