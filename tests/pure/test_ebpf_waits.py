"""Which of the kernel's candidates are told, how long they are, and that each ends once."""

from __future__ import annotations

import pytest

from xctl_probe.dialogue import Dialogue
from xctl_probe.ebpf import waits
from xctl_probe.ebpf.records import RECORD, Evidence, Kind, Record, StallDirection
from xctl_probe.ebpf.stalls import cause
from xctl_probe.ebpf.waits import Waits
from xctl_probe.facts import Cause
from xctl_probe.patience import Patient
from xctl_probe.peers.agreement import Finding

MS = 1_000_000
STALL_MS = 100
BEGAN_MS = 7_000_003  # when what the tests call 0 is, on the kernel's clock
NETNS, ELSEWHERE = 4_026_531_840, 4_026_532_233
CLIENT, OTHER = 233, 239
PORT = 6_379
SEND, RECEIVE, CONNECT = StallDirection
NO_REPLY = Cause.NO_REPLY
IN_RECV = Evidence.OPENED | Evidence.BLOCKED
ANSWERED = IN_RECV | Evidence.ANSWER


def record(kind, now_ms, since_ms=0, *, seen=IN_RECV, direction=RECEIVE, **fields):
    """What the kernel writes of one socket; two with the same inode are of one socket."""
    known = {"inode": 7, "netns": NETNS, "pid": CLIENT, "protocol": 6, "family": 2}
    ends = {"remote_address": bytes((10, 0, 0, 11)) + bytes(12), "remote_port": PORT}
    wait = {"time_ns": (BEGAN_MS + now_ms) * MS, "span_ns": (now_ms - since_ms) * MS}
    blank = Record._make(RECORD.unpack(bytes(RECORD.size)))
    return blank._replace(
        kind=kind, direction=direction, evidence=seen, **known | ends | wait | fields
    )


def lasts(now_ms, since_ms=0, **fields):
    return record(Kind.ONGOING, now_ms, since_ms, **fields)


def ends(now_ms, since_ms=0, **fields):
    return record(Kind.STALL, now_ms, since_ms, **fields)


class Peer:
    """The other end of everything in a namespace, which shows what the test says."""

    def __init__(self):
        self.shows, self.listens = Finding.UNREAD, False
        self.begun = 0
        self.asked = []  # whether the source knew the request delivered

    def begin(self):
        self.begun += 1

    def find(self, _socket, past, *, delivered=None):
        self.asked.append(delivered)
        past.finding = Finding.ON_ITS_WAY if delivered is False else self.shows
        return past.finding

    def keeps_listening(self, _socket):
        return self.listens


class Descriptor:
    """What looking into a namespace costs."""

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class Scene:
    """The kernel's records come in; `gone` are processes by which no namespace is entered."""

    def __init__(self, *patient):
        self.peer, self.endpoint = Peer(), Dialogue()
        self.entered, self.gone, self.tried = {}, set(), []
        stall_ns = STALL_MS * MS
        self.waits = Waits(stall_ns, Patient.of(patient), lambda _record: self.endpoint, cause)

    def ends_in(self, netns, pid):
        self.tried.append(pid)
        if pid in self.gone:
            return None
        self.entered.setdefault(netns, []).append(Descriptor())
        return self.entered[netns][-1]

    def look(self, *records):
        return [self._told(told) for told in self.waits.look(list(records))]

    def drain(self, now_ms, *records):
        now_ns = (BEGAN_MS + now_ms) * MS
        return [self._told(told) for told in self.waits.tell(list(records), now_ns)]

    def end(self, *args, **fields):
        told = self.waits.ended(ends(*args, **fields))
        return told and self._told(told)

    def closed(self):
        """How often the descriptors of each namespace were closed."""
        return {netns: [one.closed for one in ones] for netns, ones in self.entered.items()}

    @staticmethod
    def _told(told):
        kind = {Kind.ONGOING: "lasts", Kind.STALL: "over"}[told.record.kind]
        return kind, told.record.span_ns / MS, told.cause


@pytest.fixture
def make_scene(monkeypatch):
    def make(*patient):
        scene = Scene(*patient)
        monkeypatch.setattr(waits, "ends_in", scene.ends_in)
        monkeypatch.setattr(waits, "OtherEnd", lambda _ends, _owners: scene.peer)
        return scene

    return make


@pytest.fixture
def scene(make_scene):
    return make_scene()


@pytest.fixture
def far(make_scene):
    """All peers are on other hosts, where nobody can look."""
    scene = make_scene()
    scene.gone.add(CLIENT)
    return scene


# From the beginning to the end


def test_a_wait_is_told_while_it_lasts_and_once_when_it_ends(scene):
    """Its end is told by its own record, not by the drain that does not find it any more."""
    assert scene.drain(150, lasts(150)) == [("lasts", 150, NO_REPLY)]
    assert scene.drain(1_150, lasts(1_150)) == [("lasts", 1_150, NO_REPLY)]
    assert scene.end(1_400) == ("over", 1_400, NO_REPLY)
    assert scene.drain(2_150) == []


@pytest.mark.parametrize("after", [{"inode": 11}, {"direction": SEND}])
def test_what_ended_is_one_socket_s_wait_in_one_direction(scene, after):
    """The others go on."""
    other = lasts(150, **after)
    assert len(scene.drain(150, lasts(150), other)) == 2
    scene.end(400)
    assert len(scene.drain(1_150, lasts(1_150, **after))) == 1
    scene.end(1_400, **after)
    assert scene.drain(2_150) == []


def test_who_sends_on_ends_what_was_told_and_nothing_else(scene):
    """The next wait on the socket begins there; a wait that nobody was told of ends in silence."""
    assert scene.end(150, seen=IN_RECV | Evidence.SENT_ON) is None
    scene.drain(1_150, lasts(1_150, 1_003))
    sent_on = IN_RECV | Evidence.SENT_ON
    assert scene.end(1_400, 1_003, seen=sent_on) == ("over", 397, NO_REPLY)
    assert scene.drain(2_150, lasts(2_150, 1_400)) == [("lasts", 750, NO_REPLY)]
    assert scene.end(2_400, 1_400) == ("over", 1_000, NO_REPLY)


def test_what_ended_does_not_end_again_with_the_next_wait_on_its_socket(scene):
    """To which the peer agrees."""
    scene.drain(150, lasts(150))
    scene.end(400)
    scene.peer.shows = Finding.AGREED
    assert scene.drain(1_150, lasts(1_150, 403)) == []
    assert scene.end(1_400, 403) is None


def test_a_look_between_two_drains_leaves_the_telling_to_them(scene):
    """What it finds is no news of an end, nor does what it misses end anything."""
    scene.drain(150, lasts(150))
    assert scene.look(lasts(400)) == [("lasts", 400, NO_REPLY)]
    assert scene.look() == []
    assert scene.drain(1_150, lasts(1_150)) == [("lasts", 1_150, NO_REPLY)]


def test_what_is_no_stall_any_more_ends_with_the_drain_that_finds_it(scene):
    """The peer has come back to its loop: it ends when its socket was read, and only then."""
    scene.drain(150, lasts(150))
    scene.peer.shows = Finding.AGREED
    assert scene.drain(1_163, lasts(1_150)) == [("over", 1_150, NO_REPLY)]
    assert scene.drain(2_150, lasts(2_150)) == []
    assert scene.end(2_400) is None
    assert scene.drain(3_150) == []


def test_what_is_no_stall_any_more_ends_with_its_own_record_where_that_comes_first(scene):
    """No drain was between."""
    scene.drain(150, lasts(150))
    scene.peer.shows = Finding.AGREED
    assert scene.look(lasts(400)) == []
    assert scene.end(700) == ("over", 700, NO_REPLY)
    assert scene.drain(1_150) == []


def test_a_wait_whose_evidence_is_gone_ends_once(scene):
    """The thread has left its receive, and nothing else says that an answer is expected."""
    scene.drain(150, lasts(150))
    quiet = {"seen": Evidence.OPENED}
    assert scene.drain(1_150, lasts(1_150, **quiet)) == [("over", 1_150, NO_REPLY)]
    assert scene.end(1_400, **quiet) is None


def test_a_stall_after_an_agreement_counts_from_the_look_that_found_it(scene):
    """On from then it has its own length, while it lasts and when it ends."""
    scene.peer.shows = Finding.AGREED
    assert scene.drain(150, lasts(150)) == []
    scene.peer.shows = Finding.BUSY
    assert scene.look(lasts(5_200)) == []
    assert scene.look(lasts(5_299)) == []
    assert scene.drain(5_300, lasts(5_300)) == [("lasts", 100, NO_REPLY)]
    assert scene.end(5_700) == ("over", 500, NO_REPLY)
    assert scene.drain(6_300) == []


def test_such_a_stall_ends_with_its_own_length_too_when_it_is_one_by_agreement_again(scene):
    scene.peer.shows = Finding.AGREED
    scene.drain(150, lasts(150))
    scene.peer.shows = Finding.BUSY
    scene.look(lasts(5_200))
    scene.drain(5_300, lasts(5_300))
    scene.peer.shows = Finding.AGREED
    assert scene.drain(6_300, lasts(6_300)) == [("over", 1_100, NO_REPLY)]


def test_only_what_lasts_is_looked_at(scene):
    """The iterator also writes what has moved."""
    assert scene.drain(150, record(Kind.TRAFFIC, 150)) == []
    assert scene.peer.asked == []


def test_each_look_reads_the_peers_anew(scene):
    """Once for all that waits: looks and drains, of every namespace."""
    scene.look(lasts(150))
    scene.look(lasts(250), lasts(250, inode=11))
    assert scene.peer.begun == 1
    scene.drain(350, lasts(350), lasts(350, netns=ELSEWHERE))
    scene.look()
    assert scene.peer.begun == 4


# News of an end


def test_a_wait_that_a_look_saw_is_told_by_what_it_saw(scene):
    """Though its peer listens again when the news comes."""
    scene.peer.listens = True
    scene.look(lasts(120))
    assert scene.end(130) == ("over", 130, NO_REPLY)
    assert scene.end(390, 260) is None


def test_news_of_an_end_that_comes_after_a_look_saw_the_wait(scene):
    """The ring is read after the sockets: what they showed is over, and nobody is asked."""
    assert scene.end(131) == ("over", 131, NO_REPLY)
    assert scene.look(lasts(130)) == []
    assert scene.peer.asked == []


def test_news_of_an_end_that_comes_during_a_drain(scene):
    """It was told before: it ends once, and does not last."""
    scene.drain(150, lasts(150))
    assert scene.end(1_151) == ("over", 1_151, NO_REPLY)
    assert scene.drain(1_160, lasts(1_150)) == []
    assert scene.drain(2_150) == []


@pytest.mark.parametrize(("since_ms", "told"), [(81, 0), (82, 1), (131, 1)])
def test_the_next_wait_on_the_socket_is_another(scene, since_ms, told):
    """It began when the last one ended, as far as half a stall's length tells."""
    scene.end(132)
    assert len(scene.look(lasts(250, since_ms))) == told


@pytest.mark.parametrize("after", [{"inode": 11}, {"direction": SEND}])
def test_news_of_an_end_is_of_that_socket_and_direction(scene, after):
    scene.end(131)
    assert len(scene.look(lasts(130, **after))) == 1


def test_news_of_an_end_is_kept_until_the_next_look(scene):
    """It has no more to say after that, and would only pile up."""
    for inode in range(1, 24):
        scene.end(131, inode=inode)
    scene.look()
    assert scene.waits._ended_ns == {}


@pytest.mark.parametrize(("listens", "told"), [(True, None), (False, ("over", 131, NO_REPLY))])
def test_a_wait_that_no_look_has_seen(scene, listens, told):
    scene.peer.listens = listens
    assert scene.end(131) == told


# What is usual, and what is declared


def test_three_late_answers_make_such_waits_usual(far):
    """Up to twice the longest of them; the three are told."""
    for number, late_ms in enumerate((1_000, 1_700, 1_300)):
        assert far.end(late_ms, seen=ANSWERED, inode=number + 11) == ("over", late_ms, NO_REPLY)
    assert far.drain(3_400, lasts(3_400)) == []
    assert far.drain(3_401, lasts(3_401)) == [("lasts", 3_401, NO_REPLY)]
    assert far.end(3_400, inode=23) is None
    assert far.end(3_401, inode=29) == ("over", 3_401, NO_REPLY)


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
def test_other_ends_make_nothing_usual(far, late_ms, other):
    for _ in range(3):
        far.end(late_ms, **{"seen": ANSWERED} | other)
    assert far.drain(1_000, lasts(1_000, inode=11)) == [("lasts", 1_000, NO_REPLY)]


def test_a_peer_that_was_declared_patient_owes_no_answer(make_scene):
    """Nobody even looks at it."""
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
def test_a_patient_peer_is_told_of_where_it_is_no_answer_that_lacks(make_scene, wait, why):
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
    """Whatever the peer may have agreed to; it is not looked at."""
    scene.peer.shows, scene.peer.listens = Finding.AGREED, True
    assert scene.drain(150, lasts(150, **wait)) == [("lasts", 150, why)]
    assert scene.end(400, **wait) == ("over", 400, why)
    assert scene.drain(1_150) == []
    assert (scene.peer.asked, scene.entered) == ([], {})


def test_without_evidence_there_is_no_wait(scene):
    """The dialogue with the peer is evidence, too."""
    quiet = {"seen": Evidence.OPENED}
    assert scene.drain(150, lasts(150, **quiet)) == []
    assert scene.end(400, **quiet) is None
    assert scene.peer.asked == []
    scene.endpoint = Dialogue(answered=1)
    assert scene.drain(550, lasts(550, 410, **quiet)) == [("lasts", 140, NO_REPLY)]
    assert scene.end(600, 410, **quiet) == ("over", 190, NO_REPLY)


# Why


def test_a_request_on_its_way_has_no_cause_until_it_is_sent_again(scene):
    """It is not known to be lost, and not delivered either; delivered, it is the peer's turn."""
    scene.peer.shows = Finding.ON_ITS_WAY
    assert scene.drain(150, lasts(150)) == [("lasts", 150, None)]
    lost = {"seen": IN_RECV | Evidence.RETRANSMIT}
    assert scene.drain(1_150, lasts(1_150, **lost)) == [("lasts", 1_150, Cause.LOSS)]
    scene.peer.shows = Finding.UNREAD
    assert scene.drain(2_150, lasts(2_150)) == [("lasts", 2_150, NO_REPLY)]


@pytest.mark.parametrize(
    ("seen", "why"), [(IN_RECV, None), (IN_RECV | Evidence.RETRANSMIT, Cause.LOSS)]
)
def test_the_end_of_a_request_that_was_on_its_way(scene, seen, why):
    scene.peer.shows = Finding.ON_ITS_WAY
    scene.drain(150, lasts(150))
    assert scene.end(400, seen=seen) == ("over", 400, why)


def test_an_end_without_a_record_keeps_the_cause_that_was_told(scene):
    scene.peer.shows = Finding.ON_ITS_WAY
    scene.drain(150, lasts(150))
    scene.peer.shows = Finding.AGREED
    assert scene.drain(1_150, lasts(1_150)) == [("over", 1_150, None)]


def test_a_lost_request_is_told_though_no_look_saw_it_and_the_peer_listens(scene):
    scene.peer.listens = True
    lost = {"seen": IN_RECV | Evidence.RETRANSMIT}
    assert scene.end(131, **lost) == ("over", 131, Cause.LOSS)


def test_an_answer_that_is_lost_is_what_the_other_end_shows(scene):
    """This end cannot know: it has nothing that was sent again."""
    scene.peer.shows = Finding.ANSWER_LOST
    assert scene.drain(150, lasts(150)) == [("lasts", 150, Cause.LOSS)]
    assert scene.end(400) == ("over", 400, Cause.LOSS)


@pytest.mark.parametrize(
    ("seen", "delivered"),
    [(IN_RECV, None), (IN_RECV | Evidence.RETRANSMIT, False), (IN_RECV | Evidence.FLOW, True)],
)
def test_the_peer_is_asked_with_what_the_kernel_knows(scene, seen, delivered):
    """Who takes a flow has asked for nothing that could be on its way."""
    scene.look(lasts(150, seen=seen))
    assert scene.peer.asked == [delivered]


# Namespaces


def namespaces(scene, now_ms, numbers):
    return scene.drain(now_ms, *(lasts(now_ms, inode=n, netns=n) for n in numbers))


def test_a_namespace_is_left_after_a_minute_without_a_wait_in_it(scene):
    """Who is in it keeps it alive; and it is entered again for the next one."""
    namespaces(scene, 150, (NETNS, ELSEWHERE))
    namespaces(scene, 10_150, (NETNS,))
    scene.drain(60_150)
    assert scene.closed() == {NETNS: [0], ELSEWHERE: [0]}
    scene.drain(60_151)
    assert scene.closed() == {NETNS: [0], ELSEWHERE: [1]}
    scene.drain(70_151)
    assert scene.closed() == {NETNS: [1], ELSEWHERE: [1]}
    namespaces(scene, 70_300, (NETNS,))
    assert scene.closed() == {NETNS: [1, 0], ELSEWHERE: [1]}


def test_the_end_of_a_wait_uses_its_namespace_too(scene):
    namespaces(scene, 150, (NETNS,))
    scene.end(50_150, 50_000)
    scene.drain(110_150)
    assert scene.closed() == {NETNS: [0]}
    scene.drain(110_151)
    assert scene.closed() == {NETNS: [1]}


def test_of_more_than_64_namespaces_the_one_used_longest_ago_is_left(scene):
    namespaces(scene, 150, range(1, 65))
    namespaces(scene, 250, (1,))
    assert scene.closed() == {n: [0] for n in range(1, 65)}
    namespaces(scene, 350, (65,))
    assert [n for n, closed in scene.closed().items() if closed != [0]] == [2]
    namespaces(scene, 450, (2,))
    assert scene.closed()[2] == [1, 0]
    assert [n for n, closed in scene.closed().items() if closed == [1]] == [3]


def test_close_gives_every_descriptor_back_once(scene):
    """Also called twice, and where there was none to give back."""
    namespaces(scene, 150, (NETNS, ELSEWHERE))
    scene.gone.add(CLIENT)
    namespaces(scene, 250, (23,))
    scene.waits.close()
    scene.waits.close()
    assert scene.closed() == {NETNS: [1], ELSEWHERE: [1]}


def test_a_namespace_is_entered_by_the_next_process_where_the_first_was_gone(scene):
    """A client that gave up and left hides nobody's peer but its own."""
    scene.gone.add(CLIENT)
    scene.peer.shows = Finding.AGREED
    assert scene.end(131) == ("over", 131, NO_REPLY)
    assert scene.end(331, 200) == ("over", 131, NO_REPLY)
    for now_ms in (550, 1_550):
        assert scene.drain(now_ms, lasts(now_ms, 400, inode=11, pid=OTHER)) == []
    assert scene.end(1_700, 400, inode=11, pid=OTHER) is None
    assert scene.tried == [CLIENT, OTHER]


def test_a_namespace_is_entered_once_for_all_processes_in_it(scene):
    for now_ms in (150, 250):
        scene.drain(now_ms, lasts(now_ms), lasts(now_ms, inode=11, pid=OTHER))
    assert scene.tried == [CLIENT]
