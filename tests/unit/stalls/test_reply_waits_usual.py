"""When a reply is late: by its length, by what is usual of the peer, and what is only likely."""

from __future__ import annotations

import pytest
from support.reply_scene import MS, SERVER, STALL_MS, Scene

from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyStall, ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory, Usual

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


def test_one_that_has_answered_them_lately_will_be_asked_again():
    """Until then nothing is known; what is reported goes on."""
    scene = Scene(usual=prompt(answered=23))
    assert scene.take_sample(300, PeerState.UNKNOWN, answered_lately=None) is None
    assert scene.take_sample(400, answered_lately=True) is None
    assert scene.take_sample(500) == 0
    assert scene.take_sample(600, answered_lately=True) == 0
    assert scene.take_sample(700, answered_lately=None) == 0
    assert scene.end(900) == 0


def test_where_that_is_not_known_a_wait_is_not_likely_either():
    """Its end decides."""
    scene = Scene(usual=prompt(answered=23))
    scene.peer.shows = PeerState.UNKNOWN
    unknown = scene.asked(answered_lately=None)
    assert scene.replies.observe(unknown, 900 * MS) is None
    assert scene.replies.observe(scene.asked(answered_lately=True), 950 * MS).probable
    assert scene.replies.observe(unknown, 960 * MS) is None
    found = scene.replies.close(scene.asked(), 990 * MS)
    assert (found.probable, found.by_silence) == (False, True)


@pytest.mark.parametrize("blocked", [False, True])
def test_the_samples_show_whether_a_thread_sat_in_the_receive(blocked):
    """Its end only shows that it read at once."""
    scene = Scene(usual=prompt(answered=23))
    scene.peer.shows = PeerState.UNKNOWN
    for now_ms in (100, 200):
        scene.replies.observe(scene.asked(blocked=blocked), now_ms * MS)
    assert scene.replies.close(scene.asked(blocked=True), 300 * MS).by_silence is not blocked


@pytest.mark.parametrize(("answered", "reported"), [(7, None), (8, 0)])
def test_the_end_of_a_wait_for_a_peer_that_is_hardly_known(answered, reported):
    """No sample has found it."""
    scene = Scene(usual=prompt(answered=answered))
    assert scene.end(900) == reported


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
