"""Which of the kernel's candidates are reported, and why; and whose peers are inspected."""

from __future__ import annotations

import pytest
from support.fake_kernel_events import (
    ANSWERED,
    CONNECT,
    ELSEWHERE,
    IN_RECV,
    NETNS,
    NO_REPLY,
    OTHER,
    PORT,
    SEND,
    entered,
    lasts,
)

from xctl_probe.ebpf.abi import Evidence
from xctl_probe.events import Cause
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.request_history import RequestHistory


@pytest.fixture
def make_scene(monkeypatch):
    return lambda *ignored_peers: entered(monkeypatch, *ignored_peers)


@pytest.fixture
def scene(make_scene):
    return make_scene()


@pytest.fixture
def elsewhere(make_scene):
    """All peers are on other hosts, where the probe cannot inspect them."""
    scene = make_scene()
    scene.peer.shows = PeerState.UNKNOWN
    return scene


# What is usual, and what is declared


def test_three_late_answers_make_such_waits_usual(elsewhere):
    """Up to twice the longest of them; the three are reported."""
    for inode, (begin_ms, end_ms) in enumerate(((0, 1_000), (1_000, 2_700), (2_700, 4_000)), 11):
        over = ("over", end_ms - begin_ms, NO_REPLY)
        assert elsewhere.end(end_ms, begin_ms, seen=ANSWERED, inode=inode) == over
    assert elsewhere.drain(7_400, lasts(7_400, 4_000)) == []
    assert elsewhere.drain(7_401, lasts(7_401, 4_000)) == [("lasts", 3_401, NO_REPLY)]
    assert elsewhere.end(7_400, 4_000, inode=23) is None
    assert elsewhere.end(7_401, 4_000, inode=29) == ("over", 3_401, NO_REPLY)


@pytest.mark.parametrize(
    ("late_ms", "other"),
    [
        (999, {}),  # is not late
        (1_700, {"seen": IN_RECV}),  # the connection ended, and no answer came
        (1_700, {"seen": ANSWERED | Evidence.RETRANSMIT}),  # the network was late
        (1_700, {"remote_port": PORT + 1}),
        (1_700, {"netns": ELSEWHERE}),
    ],
)
def test_other_peers_make_nothing_usual(elsewhere, late_ms, other):
    for begin_ms in (0, 2_000, 4_000):
        elsewhere.end(begin_ms + late_ms, begin_ms, **{"seen": ANSWERED} | other)
    assert elsewhere.drain(7_000, lasts(7_000, 6_000, inode=11)) == [("lasts", 1_000, NO_REPLY)]


def test_a_peer_that_was_declared_as_ignored_owes_no_answer(make_scene):
    """It is not even inspected."""
    scene = make_scene(f"10.0.0.11:{PORT}")
    assert scene.drain(150, lasts(150)) == []
    assert scene.end(400) is None
    assert scene.peer.asked == []
    beside = {"inode": 11, "remote_port": PORT + 1}
    assert scene.drain(1_150, lasts(1_150, **beside)) == [("lasts", 1_150, NO_REPLY)]


@pytest.mark.parametrize(
    ("wait", "why"),
    [
        ({"direction": SEND}, Cause.SEND_BUFFER),
        ({"direction": CONNECT}, Cause.CONNECTING),
        ({"seen": Evidence.OPENED | Evidence.HOLE}, Cause.LOSS),
    ],
)
def test_an_ignored_peer_is_reported_of_where_it_is_no_answer_that_lacks(make_scene, wait, why):
    scene = make_scene("10.0.0.11")
    assert scene.drain(150, lasts(150, **wait)) == [("lasts", 150, why)]
    assert scene.end(400, **wait) == ("over", 400, why)


# What is no wait for a reply


@pytest.mark.parametrize(
    ("wait", "why"),
    [
        ({"direction": SEND}, Cause.SEND_BUFFER),
        ({"direction": SEND, "seen": Evidence.PEER_WINDOW}, Cause.PEER_WINDOW),
        ({"direction": CONNECT, "seen": Evidence(0)}, Cause.CONNECTING),
        ({"seen": Evidence.OPENED | Evidence.HOLE}, Cause.LOSS),
    ],
)
def test_sends_connects_and_holes_are_the_kernel_s_own_finding(scene, wait, why):
    """Whatever the peer may intend; it is not inspected."""
    scene.peer.shows, scene.peer.listens = PeerState.WAITING_FOR_REQUEST, True
    assert scene.drain(150, lasts(150, **wait)) == [("lasts", 150, why)]
    assert scene.end(400, **wait) == ("over", 400, why)
    assert scene.drain(1_150) == []
    assert (scene.peer.asked, scene.made) == ([], 0)


def test_without_evidence_there_is_no_wait(scene):
    """The history of the peer is evidence, too."""
    quiet = {"seen": Evidence.OPENED}
    assert scene.drain(150, lasts(150, **quiet)) == []
    assert scene.end(400, **quiet) is None
    assert scene.peer.asked == []
    scene.endpoint = RequestHistory(answered=1)
    assert scene.drain(550, lasts(550, 410, **quiet)) == [("lasts", 140, NO_REPLY)]
    assert scene.end(600, 410, **quiet) == ("over", 190, NO_REPLY)


# Why


def test_a_request_on_its_way_has_no_cause_until_it_is_sent_again(scene):
    """It is not known to be lost, and not delivered either; delivered, it is the peer's turn."""
    scene.peer.shows = PeerState.REQUEST_IN_FLIGHT
    assert scene.drain(150, lasts(150)) == [("lasts", 150, None)]
    lost = {"seen": IN_RECV | Evidence.RETRANSMIT}
    assert scene.drain(1_150, lasts(1_150, **lost)) == [("lasts", 1_150, Cause.LOSS)]
    scene.peer.shows = PeerState.UNREAD
    assert scene.drain(2_150, lasts(2_150)) == [("lasts", 2_150, NO_REPLY)]


@pytest.mark.parametrize(
    ("seen", "why"), [(IN_RECV, None), (IN_RECV | Evidence.RETRANSMIT, Cause.LOSS)]
)
def test_the_end_of_a_request_that_was_on_its_way(scene, seen, why):
    scene.peer.shows = PeerState.REQUEST_IN_FLIGHT
    scene.drain(150, lasts(150))
    assert scene.end(400, seen=seen) == ("over", 400, why)


def test_an_end_without_a_record_keeps_the_cause_that_was_reported(scene):
    scene.peer.shows = PeerState.REQUEST_IN_FLIGHT
    scene.drain(150, lasts(150))
    scene.peer.shows = PeerState.WAITING_FOR_REQUEST
    scene.take_sample(lasts(1_000))
    assert scene.drain(1_150, lasts(1_150)) == [("over", 1_150, None)]


def test_a_lost_request_is_reported_though_no_sample_saw_it_and_the_peer_listens(scene):
    scene.peer.listens = True
    lost = {"seen": IN_RECV | Evidence.RETRANSMIT}
    assert scene.end(131, **lost) == ("over", 131, Cause.LOSS)


def test_an_answer_that_is_lost_is_what_the_other_end_shows(scene):
    """This end cannot know: it has nothing that was sent again."""
    scene.peer.shows = PeerState.REPLY_RETRANSMITTED
    assert scene.drain(150, lasts(150)) == [("lasts", 150, Cause.LOSS)]
    assert scene.end(400) == ("over", 400, Cause.LOSS)


@pytest.mark.parametrize(
    ("seen", "delivered"),
    [(IN_RECV, None), (IN_RECV | Evidence.RETRANSMIT, False), (IN_RECV | Evidence.FLOW, True)],
)
def test_the_peer_is_asked_with_what_the_kernel_knows(scene, seen, delivered):
    """Who takes a flow has asked for nothing that could be on its way."""
    scene.take_sample(lasts(150, seen=seen))
    assert scene.peer.asked == [delivered]


# Namespaces


def namespaces(scene, now_ms, numbers):
    return scene.drain(now_ms, *(lasts(now_ms, inode=n, netns=n) for n in numbers))


def test_a_namespace_is_forgotten_after_a_minute_without_a_wait_in_it(scene):
    """Who is in it keeps it alive."""
    namespaces(scene, 150, (NETNS, ELSEWHERE))
    namespaces(scene, 10_150, (NETNS,))
    scene.drain(60_150)
    assert set(scene.waits._namespaces) == {NETNS, ELSEWHERE}
    scene.drain(60_151)
    assert set(scene.waits._namespaces) == {NETNS}
    scene.drain(70_151)
    assert not scene.waits._namespaces


def test_the_end_of_a_wait_uses_its_namespace_too(scene):
    namespaces(scene, 150, (NETNS,))
    scene.end(50_150, 50_000)
    scene.drain(110_150)
    assert set(scene.waits._namespaces) == {NETNS}
    scene.drain(110_151)
    assert not scene.waits._namespaces


def test_of_too_many_namespaces_the_one_used_longest_ago_is_forgotten(scene):
    namespaces(scene, 150, range(1, 1_025))
    namespaces(scene, 250, (1,))
    namespaces(scene, 350, (1_025,))
    assert set(scene.waits._namespaces) == {1, *range(3, 1_026)}


def test_a_namespace_has_one_memory_for_all_processes_in_it(scene):
    """And the latest of them leads there: one that gave up and left hides no peer."""
    for now_ms in (150, 250):
        scene.drain(now_ms, lasts(now_ms), lasts(now_ms, inode=11, pid=OTHER))
    assert scene.made == 1
    assert scene.waits._namespaces[NETNS].lookup.pid == OTHER


# Datagrams

ALONE = Evidence.OPENED | Evidence.POLLING | Evidence.ALONE
QUERY = {"protocol": 17, "remote_port": 0, "seen": ALONE}


def test_a_query_that_no_iteration_sees_any_more_is_over(scene):
    """Its socket was closed: it lasted for as long as it was seen to."""
    assert scene.drain(900, lasts(900, **QUERY)) == []
    assert scene.drain(1_300, lasts(1_300, **QUERY)) == [("lasts", 1_300, NO_REPLY)]
    assert scene.take_sample(lasts(1_700, **QUERY)) == [("lasts", 1_700, NO_REPLY)]
    assert scene.take_sample() == []
    assert scene.drain(2_300) == [("over", 1_700, NO_REPLY)]
    assert scene.drain(3_300) == []


def test_a_query_whose_answer_has_come_is_over_once(scene):
    assert scene.drain(1_300, lasts(1_300, **QUERY)) == [("lasts", 1_300, NO_REPLY)]
    answer = {**QUERY, "seen": ALONE | Evidence.DATA}
    assert scene.end(1_700, **answer) == ("over", 1_700, NO_REPLY)
    assert scene.drain(2_300) == []


def test_a_query_whose_answer_comes_just_after_a_sample_without_it_is_over_once(scene):
    """By the event of its end, which has the exact length; a later query is another wait."""
    assert scene.drain(1_300, lasts(1_300, **QUERY)) == [("lasts", 1_300, NO_REPLY)]
    assert scene.take_sample() == []
    answer = {**QUERY, "seen": ALONE | Evidence.DATA}
    assert scene.end(1_309, **answer) == ("over", 1_309, NO_REPLY)
    assert scene.drain(2_300) == []
    assert scene.drain(4_300, lasts(4_300, 3_000, **QUERY)) == [("lasts", 1_300, NO_REPLY)]
    assert scene.take_sample() == []
    assert scene.end(5_900, 4_400, **answer) == ("over", 1_500, NO_REPLY)
    assert scene.drain(6_300) == [("over", 1_300, NO_REPLY)]


def test_a_datagram_that_could_leave_is_over(scene):
    """Who was held up and who asked on the same socket are reported apart."""
    held = {"protocol": 17, "seen": Evidence(0), "direction": SEND}
    assert scene.drain(600, lasts(600, **held)) == [("lasts", 600, Cause.SEND_BUFFER)]
    assert scene.drain(1_300, lasts(1_300, **QUERY)) == [
        ("over", 600, Cause.SEND_BUFFER),
        ("lasts", 1_300, NO_REPLY),
    ]


def test_late_answers_to_one_query_make_no_other_late(scene):
    """What is not connected has no peer in common, and nothing is usual there."""
    answer = {**QUERY, "seen": ALONE | Evidence.DATA}
    for inode in (11, 13, 17):
        assert scene.end(9_000, inode=inode, **answer) == ("over", 9_000, NO_REPLY)
    assert scene.drain(2_300, lasts(2_300, **QUERY)) == [("lasts", 2_300, NO_REPLY)]


# Equals


SYMMETRIC = Evidence.SYMMETRIC  # of the side that accepted the connection


@pytest.mark.parametrize("shows", [PeerState.WAITING_FOR_REQUEST, PeerState.BUSY])
def test_who_accepted_waits_only_for_an_equal_that_does_not_read(scene, shows):
    scene.peer.shows = shows
    assert scene.drain(1_150, lasts(1_150, seen=SYMMETRIC)) == []
    assert scene.end(1_200, seen=SYMMETRIC) is None
    scene.peer.shows = PeerState.UNREAD
    assert scene.drain(3_150, lasts(3_150, 2_000, seen=SYMMETRIC)) == [("lasts", 1_150, NO_REPLY)]
    assert scene.end(3_400, 2_000, seen=SYMMETRIC) == ("over", 1_400, NO_REPLY)
    assert scene.drain(4_150) == []


def test_who_opened_waits_for_an_equal_as_any_client_does(scene):
    """Where its sends mostly get replies."""
    scene.peer.shows = PeerState.BUSY
    seen = IN_RECV | SYMMETRIC
    assert scene.drain(1_150, lasts(1_150, seen=seen)) == [("lasts", 1_150, NO_REPLY)]
