"""What the peer of a connection shows, where it is on this host."""

from __future__ import annotations

import pytest

from xctl_probe.events import Process, Socket
from xctl_probe.linux.process_activity import Activity, SchedCounters
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.stalls.peer_inspector import PeerInspector, PeerObservation, PeerState

SOCKET = Socket(7, 11, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 6_379)
INODE = 4_241
SERVER = Process(239, 7_003, "server")


class FakeLookup:
    """A request that was read; change what differs."""

    def __init__(self):
        self.local_end = SocketSnapshot(0, 0, False, 7)
        self.peer_end = SocketSnapshot(0, 0, False, INODE)

    def local_socket(self, of):
        assert of is SOCKET
        return self.local_end

    def peer_socket(self, of):
        assert of is SOCKET
        return self.peer_end


class Owners:
    """The server holds the peer socket, once it has been searched for."""

    def __init__(self):
        self.known, self.searches, self.visible = set(), 0, True
        self.forgotten, self.unfinished = [], set()
        self.all_readable = False

    @property
    def refused(self):
        return not self.visible and not self.all_readable

    def begin_sample(self):
        pass

    def is_current(self, inode):
        return inode in self.known

    def search(self, inodes, _asker):
        self.searches += 1
        if self.visible:
            self.known |= set(inodes)
        return set(inodes) & self.unfinished

    def get(self, inode):
        return SERVER if inode in self.known else None

    def forget(self, inodes):
        self.forgotten += inodes


class Processes:
    def __init__(self):
        self.does = {SERVER.pid: Activity.OTHER}
        self.sleeps = self.ran_ns = self.queued_ns = 0
        self.is_stopped = False
        self.samples = 0

    def begin(self):
        pass

    def stopped(self, pid):
        assert pid == SERVER.pid
        return self.is_stopped

    def sched_counters(self, _pid):
        return SchedCounters(self.sleeps, self.ran_ns, self.queued_ns)

    def activity(self, pid, inode, _since_ns):
        assert inode == INODE
        self.samples += 1
        return self.does[pid]


class Scene:
    def __init__(self):
        self.lookup, self.owners, self.processes = FakeLookup(), Owners(), Processes()
        self.other = PeerInspector(self.lookup, self.owners, self.processes)
        self.observation = PeerObservation()

    def finds(self, does=None, **options):
        if does is not None:
            self.processes.does[SERVER.pid] = does
        self.other.begin_sample()
        return self.other.inspect(SOCKET, self.observation, **options)


@pytest.mark.parametrize(
    ("peer_seen", "found"),
    [
        (None, PeerState.UNKNOWN),
        (SocketSnapshot(1, 0, False, INODE), PeerState.UNREAD),
        (SocketSnapshot(1, 0, False, 0), PeerState.UNREAD),  # not even accepted
        (SocketSnapshot(0, 7, True, INODE), PeerState.REPLY_RETRANSMITTED),
        (SocketSnapshot(0, 7, False, INODE), PeerState.WAITING_FOR_REQUEST),  # it is on its way
        (SocketSnapshot(0, 0, False, 0), PeerState.UNKNOWN),
    ],
)
def test_the_peer_s_queues_come_first(peer_seen, found):
    """What lies in them is sure, whatever its process does."""
    scene = Scene()
    scene.lookup.peer_end = peer_seen
    assert scene.finds(Activity.WAITING_ON_SOCKET) is found


@pytest.mark.parametrize(
    ("local_seen", "delivered", "found"),
    [
        (SocketSnapshot(0, 7, False, 7), None, PeerState.REQUEST_IN_FLIGHT),
        (SocketSnapshot(0, 0, False, 7), None, PeerState.WAITING_FOR_REQUEST),
        (None, None, PeerState.WAITING_FOR_REQUEST),
        (SocketSnapshot(0, 0, False, 7), False, PeerState.REQUEST_IN_FLIGHT),
        (
            SocketSnapshot(0, 7, False, 7),
            True,
            PeerState.WAITING_FOR_REQUEST,
        ),  # the source knows better
    ],
)
def test_a_request_that_is_not_acknowledged_is_on_its_way(local_seen, delivered, found):
    """The source knows it, or the local socket is read."""
    scene = Scene()
    scene.lookup.local_end = local_seen
    assert scene.finds(Activity.WAITING_ON_SOCKET, delivered=delivered) is found


@pytest.mark.parametrize(
    ("does", "found"),
    [
        (Activity.WAITING_ON_SOCKET, PeerState.WAITING_FOR_REQUEST),
        (Activity.OTHER, PeerState.BUSY),
        (Activity.STOPPED, PeerState.BUSY),
        (Activity.EVENT_LOOP_BUSY, PeerState.UNKNOWN_ACTIVITY),
        (Activity.UNDECIDED, PeerState.HIDDEN),
        (Activity.UNKNOWN, PeerState.UNKNOWN),
    ],
)
def test_what_its_process_does_decides(does, found):
    assert Scene().finds(does) is found


def test_an_answer_that_is_late_is_marked_until_it_is_there():
    scene = Scene()
    assert scene.finds(Activity.LATER, delivered=True) is PeerState.UNKNOWN_ACTIVITY
    assert scene.observation.late
    assert scene.finds(Activity.OTHER, delivered=True) is PeerState.BUSY
    assert not scene.observation.late


def test_an_event_loop_found_again_and_again_in_one_long_step_is_busy():
    """From sample to sample it has not slept once: it computes, or is blocked elsewhere."""
    for ran_ns in (0, 7):
        scene = Scene()
        assert scene.finds(Activity.EVENT_LOOP_BUSY) is PeerState.UNKNOWN_ACTIVITY
        scene.processes.ran_ns += ran_ns
        assert scene.finds() is PeerState.UNKNOWN_ACTIVITY
        scene.processes.ran_ns += ran_ns
        assert scene.finds() is PeerState.BUSY


def test_an_event_loop_that_lacks_a_processor_is_not_busy():
    """On a busy machine it waits to run, longer than it runs."""
    scene = Scene()
    for _ in range(7):
        scene.processes.ran_ns += 7
        scene.processes.queued_ns += 11
        assert scene.finds(Activity.EVENT_LOOP_BUSY) is PeerState.UNKNOWN_ACTIVITY


def test_an_event_loop_that_lacks_a_processor_and_has_run_for_a_second_is_busy():
    """Without a sleep: it would have come back to its loop."""
    scene = Scene()
    found = []
    for sleeps in (7, 7, 7, 7, 7, 11):
        scene.processes.sleeps = sleeps
        scene.processes.ran_ns += 250_000_000
        scene.processes.queued_ns += 750_000_000
        found.append(scene.finds(Activity.EVENT_LOOP_BUSY))
    unknown = PeerState.UNKNOWN_ACTIVITY
    assert found == [unknown] * 4 + [PeerState.BUSY, unknown]


def test_an_event_loop_that_serves_others_meanwhile_is_not():
    """It ran, slept and runs: where it slept is not known."""
    scene = Scene()
    for sleeps in (7, 11, 13):
        scene.processes.sleeps = sleeps
        assert scene.finds(Activity.EVENT_LOOP_BUSY) is PeerState.UNKNOWN_ACTIVITY


def test_what_was_expected_once_stays_so_while_it_serves_others():
    """It has been back to its loop: no further read of its threads is needed."""
    scene = Scene()
    assert scene.finds(Activity.WAITING_ON_SOCKET) is PeerState.WAITING_FOR_REQUEST
    samples = scene.processes.samples
    assert scene.finds(Activity.OTHER) is PeerState.WAITING_FOR_REQUEST
    assert scene.processes.samples == samples


def test_an_expected_wait_is_over_when_the_peer_is_stopped_or_does_not_read():
    for peer_seen, stopped, found in (
        (SocketSnapshot(0, 0, False, INODE), True, PeerState.BUSY),
        (SocketSnapshot(7, 0, False, INODE), False, PeerState.UNREAD),
        (SocketSnapshot(0, 7, True, INODE), False, PeerState.REPLY_RETRANSMITTED),
    ):
        scene = Scene()
        assert scene.finds(Activity.WAITING_ON_SOCKET) is PeerState.WAITING_FOR_REQUEST
        scene.lookup.peer_end, scene.processes.is_stopped = peer_seen, stopped
        assert scene.finds() is found


def test_a_process_that_one_may_not_see_is_searched_for_seldom():
    """Another user's: it has the request, and asking again who it is is mostly for nothing."""
    scene = Scene()
    scene.owners.visible = False
    for _ in range(33):
        assert scene.finds(Activity.WAITING_ON_SOCKET) is PeerState.HIDDEN
    assert scene.owners.searches == 1 + 3


def test_a_process_that_could_not_be_read_for_a_while_is_found_afterwards():
    scene = Scene()
    scene.owners.visible = False
    assert scene.finds(Activity.OTHER) is PeerState.HIDDEN
    scene.owners.visible = True
    found = [scene.finds(Activity.OTHER) for _ in range(8)]
    assert found == [PeerState.UNKNOWN] * 7 + [PeerState.BUSY]


def test_searches_are_rationed_and_what_was_not_searched_for_is_undecided():
    """Through all of /proc at most twice a sample; the others go together in the next one."""
    scene = Scene()
    scene.owners.visible = False

    def finds():
        found = []
        for inode in (2, 3, 5, 7, 11):
            scene.lookup.peer_end = SocketSnapshot(0, 0, False, inode)
            found.append(scene.other.inspect(SOCKET, PeerObservation()))
        return found

    assert finds() == [PeerState.HIDDEN] * 2 + [PeerState.UNKNOWN_ACTIVITY] * 3
    assert scene.owners.searches == 2
    scene.other.begin_sample()
    assert finds() == [PeerState.HIDDEN] * 5
    assert scene.owners.searches == 3


def test_a_process_that_is_not_found_though_all_may_be_read_excuses_no_wait():
    """It is held up, or a message of a unix socket: a user must not hide a wait so."""
    scene = Scene()
    scene.owners.visible, scene.owners.all_readable = False, True
    assert scene.finds(Activity.WAITING_ON_SOCKET) is PeerState.UNKNOWN
    assert scene.other.keeps_listening(SOCKET) is False


def test_it_forgets_the_owners_searched_for_first():
    scene = Scene()
    for inode in range(1, 4_100):
        scene.lookup.peer_end = SocketSnapshot(0, 0, False, inode)
        scene.processes.does[SERVER.pid] = Activity.OTHER
        scene.other.begin_sample()
        scene.other._owner(inode, None)
    assert scene.owners.forgotten == [1, 2, 3]


@pytest.mark.parametrize(
    ("does", "listens"),
    [(Activity.WAITING_ON_SOCKET, True), (Activity.EVENT_LOOP_BUSY, True), (Activity.OTHER, False),
     (Activity.STOPPED, False)],
)  # fmt: skip
def test_of_a_wait_that_is_over_only_the_listening_counts(does, listens):
    """What the queue holds has come since."""
    scene = Scene()
    scene.lookup.peer_end = SocketSnapshot(7, 0, False, INODE)
    scene.processes.does[SERVER.pid] = does
    assert scene.other.keeps_listening(SOCKET) is listens


def test_a_peer_that_is_gone_or_that_no_process_has_open_does_not_listen():
    scene = Scene()
    for peer_seen in (None, SocketSnapshot(0, 0, False, 0)):
        scene.lookup.peer_end = peer_seen
        assert not scene.other.keeps_listening(SOCKET)


def test_a_peer_whose_process_is_not_seen_may_listen():
    """What does not decide is silent: neither searched for in vain, nor not searched for yet."""
    scene = Scene()
    scene.owners.visible = False
    for inode in (2, 3, 5):
        scene.lookup.peer_end = SocketSnapshot(0, 0, False, inode)
        assert scene.other.keeps_listening(SOCKET)
