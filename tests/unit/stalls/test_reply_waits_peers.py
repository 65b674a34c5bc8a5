"""Which reply waits are reported by what the peer shows, and where it cannot be inspected."""

from __future__ import annotations

import pytest
from support.reply_scene import CLIENT, MS, PORT, SERVER, STALL_MS, Scene

from xctl_probe.events import Cause, Socket
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyStall, ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory, Usual

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


def test_a_proxy_that_was_decided_first_counts_in_the_same_sample():
    scene = proxied(0)
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    found = scene.replies.observe(scene.asked(), 1_000 * MS)
    assert found == ReplyStall(0)


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
