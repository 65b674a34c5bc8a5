"""The peers of stalls: the process at the other socket, and what it was seen to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xctl_probe.events import Cause, Direction, PeerActivity, Process, Socket, Stall
from xctl_probe.linux.netns import NotNow
from xctl_probe.linux.process_activity import Activity
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.stalls.peer_processes import PeerProcesses

CLIENT, PROXY, SERVER = (
    Process(pid, 7_001, comm) for pid, comm in ((233, "client"), (239, "proxy"), (241, "server"))
)
INODE, PEER_INODE = 11, 13


def stall(owner=CLIENT, inode=INODE, direction=Direction.RECEIVE, ongoing=True, protocol="tcp"):
    socket = Socket(inode, 7, protocol, "10.0.0.7", 40_009, "10.0.0.11", 6_379, uid=1_009)
    return Stall(owner, socket, direction, 1_000_003, ongoing, Cause.NO_REPLY)


class Owners:
    """Owners by inode; the search finds those of `later`, unless it is interrupted."""

    def __init__(self, later):
        self.known, self.later = {}, later
        self.searches, self.is_interrupted = [], False

    def stale(self, inodes):
        return {inode for inode in inodes if inode not in self.known}

    def search(self, inodes, asker=None):
        self.searches.append((set(inodes), asker))
        if self.is_interrupted:
            return set(inodes)
        self.known |= {inode: self.later[inode] for inode in inodes if inode in self.later}
        return set()

    def get(self, inode):
        return self.known.get(inode)


class Scene:
    def __init__(self):
        self.sockets = {INODE: SocketSnapshot(0, 0, False, PEER_INODE)}
        self.owners = Owners({PEER_INODE: SERVER})
        self.states, self.partial = {}, set()
        self.does = Activity.OTHER
        self.asked = []
        self.peers = PeerProcesses(self.find, self.owners, self, self)

    def begin(self):
        pass

    def of(self, pid):
        return self.states.get(pid)

    def is_partial(self, pid):
        return pid in self.partial

    def activity(self, pid, inode):
        self.asked.append((pid, inode))
        return self.does

    def find(self, of, _tried):
        found = self.sockets.get(of.inode)
        if isinstance(found, Exception):
            raise found
        return found

    def named(self, *stalls):
        return [(one.peer, one.peer_activity) for one in self.peers.named(stalls)]


def test_the_peer_is_the_owner_of_the_socket_at_the_other_side():
    scene = Scene()
    assert scene.named(stall()) == [(SERVER, PeerActivity.ELSEWHERE)]
    assert scene.owners.searches == [({PEER_INODE}, 1_009)]
    assert scene.asked == [(SERVER.pid, PEER_INODE)]


def test_a_known_owner_is_not_searched_for_again():
    scene = Scene()
    scene.named(stall())
    scene.named(stall())
    assert len(scene.owners.searches) == 1


@pytest.mark.parametrize(
    "held", [PeerActivity.FROZEN, PeerActivity.STOPPED, PeerActivity.DISK_SLEEP]
)
def test_what_holds_the_peer_comes_before_what_it_has_not_read(held):
    scene = Scene()
    scene.sockets[INODE] = SocketSnapshot(7, 0, False, PEER_INODE)
    scene.states[SERVER.pid] = held
    assert scene.named(stall()) == [(SERVER, held)]


def test_a_peer_that_sleeps_and_has_not_read_the_request():
    scene = Scene()
    scene.sockets[INODE] = SocketSnapshot(7, 0, False, PEER_INODE)
    assert scene.named(stall()) == [(SERVER, PeerActivity.UNREAD)]
    assert scene.asked == []


def test_unread_data_shows_where_the_process_is_not_known():
    scene = Scene()
    scene.sockets[INODE] = SocketSnapshot(7, 0, False, 0)  # not accepted yet
    assert scene.named(stall()) == [(None, PeerActivity.UNREAD)]


def test_a_peer_that_is_stalled_itself_waits():
    scene = Scene()
    scene.owners.later |= {PEER_INODE: PROXY, 19: SERVER}
    scene.sockets[17] = SocketSnapshot(7, 0, False, 19)
    found = scene.named(stall(), stall(PROXY, inode=17))
    assert found == [(PROXY, PeerActivity.WAITING), (SERVER, PeerActivity.UNREAD)]


def test_a_peer_that_was_stopped_while_it_waited_is_stopped():
    scene = Scene()
    scene.owners.later |= {PEER_INODE: PROXY}
    scene.states[PROXY.pid] = PeerActivity.STOPPED
    assert scene.named(stall(), stall(PROXY, inode=17))[0] == (PROXY, PeerActivity.STOPPED)


@pytest.mark.parametrize(
    "does", [Activity.UNKNOWN, Activity.LATER, Activity.WAITING_ON_SOCKET, Activity.EVENT_LOOP_BUSY]
)
def test_what_was_not_seen_is_absent(does):
    scene = Scene()
    scene.does = does
    assert scene.named(stall()) == [(SERVER, None)]


def test_a_peer_with_threads_that_were_not_read_is_not_elsewhere():
    """One of these may run."""
    scene = Scene()
    scene.partial = {SERVER.pid}
    assert scene.named(stall()) == [(SERVER, None)]
    scene.states[SERVER.pid] = PeerActivity.RUNNING
    assert scene.named(stall()) == [(SERVER, PeerActivity.RUNNING)]


def test_a_peer_on_another_host_is_absent():
    scene = Scene()
    scene.sockets.clear()
    assert scene.named(stall()) == [(None, None)]


def test_a_namespace_that_is_entered_later_leaves_the_peer_absent_until_then():
    scene = Scene()
    scene.sockets[INODE] = NotNow()
    assert scene.named(stall()) == [(None, None)]
    scene.sockets[INODE] = SocketSnapshot(0, 0, False, PEER_INODE)
    assert scene.named(stall()) == [(SERVER, PeerActivity.ELSEWHERE)]


def test_an_interrupted_search_goes_on_with_the_next_drain():
    scene = Scene()
    scene.owners.is_interrupted = True
    assert scene.named(stall()) == [(None, None)]
    scene.owners.is_interrupted = False
    assert scene.named(stall()) == [(SERVER, PeerActivity.ELSEWHERE)]


def test_an_owner_that_may_not_be_read_is_searched_for_seldom():
    scene = Scene()
    scene.owners.later.clear()
    for _ in range(33):
        assert scene.named(stall()) == [(None, None)]
    assert len(scene.owners.searches) == 1 + 3


def test_an_owner_that_could_not_be_read_for_a_while_is_named_afterwards():
    """Also where the search for it takes two drains then."""
    scene = Scene()
    later, scene.owners.later = scene.owners.later, {}
    scene.named(stall())
    scene.owners.later, scene.owners.is_interrupted = later, True
    assert [scene.named(stall()) for _ in range(8)] == [[(None, None)]] * 8
    scene.owners.is_interrupted = False
    assert scene.named(stall()) == [(SERVER, PeerActivity.ELSEWHERE)]


def test_a_stall_that_is_over_keeps_the_peer_and_not_what_it_did():
    scene = Scene()
    scene.named(stall())
    assert scene.named(stall(ongoing=False)) == [(SERVER, None)]
    assert scene.named(stall(ongoing=False)) == [(None, None)]


@pytest.mark.parametrize(
    "other", [{"protocol": "udp"}, {"direction": Direction.CONNECT}], ids=["udp", "connect"]
)
def test_stalls_without_a_connection_have_no_peer(other):
    scene = Scene()
    assert scene.named(stall(**other)) == [(None, None)]


def test_nothing_else_of_a_stall_changes():
    scene = Scene()
    (found,) = scene.peers.named([stall()])
    assert replace(found, peer=None, peer_activity=None) == stall()


def test_a_user_with_thousands_of_stalls_leaves_room_for_others():
    scene = Scene()
    scene.sockets = {inode: SocketSnapshot(7, 0, False, 0) for inode in range(1, 4_001)}
    flood = [stall(inode=inode) for inode in range(1, 4_000)]
    one = stall(SERVER, inode=4_000)
    one = replace(one, socket=replace(one.socket, uid=1_013))
    found = scene.named(*flood, one)
    assert found[-1] == (None, PeerActivity.UNREAD)
    assert sum(activity is not None for _, activity in found) == 256


def test_a_peer_that_was_not_found_again_is_absent():
    scene = Scene()
    scene.named(stall())
    scene.sockets.clear()
    assert scene.named(stall()) == [(None, None)]
