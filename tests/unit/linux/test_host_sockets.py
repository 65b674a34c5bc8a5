"""The peer socket is found in whatever namespace of this host it is."""

from __future__ import annotations

from xctl_probe.events import Socket
from xctl_probe.linux.host_sockets import HostSockets
from xctl_probe.linux.netns import Visits
from xctl_probe.linux.socket_lookup import SocketSnapshot

HERE, THERE, THIRD = 4_026_531_841, 4_026_531_843, 4_026_531_847
SOCKET = Socket(11, 7, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 6_379)
PEER = SocketSnapshot(7, 0, False, 13)


class Lookup:
    def __init__(self, found=None):
        self.found, self.asked = found, 0

    def peer_socket(self, _of):
        self.asked += 1
        return self.found

    def close(self):
        pass


class Host:
    def __init__(self):
        self.lookups = {HERE: Lookup(), THERE: Lookup(), THIRD: Lookup()}
        self.lists = 0
        self.now_ns = 1
        self.sockets = HostSockets(
            Visits(lambda netns, _pid: self.lookups[netns]), self.namespaces, lambda: self.now_ns
        )

    def namespaces(self):
        self.lists += 1
        return {HERE: 101, THERE: 103, THIRD: 107}

    def find(self, of=SOCKET, tried=None):
        self.sockets.begin()
        found = self.sockets.peer_socket(of, HERE, 101, set() if tried is None else tried)
        self.sockets.leave()
        return found


def test_the_namespace_of_the_socket_comes_first():
    host = Host()
    host.lookups[HERE].found = PEER
    assert host.find() == PEER
    assert host.lists == 0


def test_the_peer_is_found_in_another_namespace():
    host = Host()
    host.lookups[THERE].found = PEER
    assert host.find() == PEER


def test_a_namespace_without_the_peer_is_not_asked_again():
    host = Host()
    tried = set()
    assert host.find(tried=tried) is None
    assert host.find(tried=tried) is None
    assert tried == {THERE, THIRD}
    assert host.lookups[THERE].asked == 1


def test_a_process_that_has_exited_leads_nowhere_until_another_is_found():
    """Its namespace may have the peer: it is asked again with the next list."""
    host = Host()
    there, host.lookups[THERE] = host.lookups[THERE], None
    there.found = PEER
    tried = set()
    assert host.find(tried=tried) is None
    assert tried == {THIRD}
    host.lookups[THERE] = there
    host.now_ns += 11_000_000_000
    assert host.find(tried=tried) == PEER


def test_the_list_of_namespaces_is_kept_for_a_while():
    host = Host()
    host.find()
    host.find()
    assert host.lists == 1
    host.now_ns += 60_000_000_000
    host.find()
    assert host.lists == 2


def test_a_loopback_address_is_of_one_namespace():
    host = Host()
    host.lookups[THERE].found = PEER
    for address in ("127.0.0.1", "::1", SOCKET.local_address):
        assert host.find(Socket(11, 7, "tcp", SOCKET.local_address, 40_009, address, 6_379)) is None


def test_a_sample_enters_a_few_namespaces_and_the_next_one_others():
    many = {THERE + n: 211 + n for n in range(2, 40)}
    host = Host()
    host.namespaces = lambda: many
    host.lookups |= {netns: Lookup() for netns in many}
    last = list(many)[-1]
    host.lookups[last].found = PEER
    host.sockets = HostSockets(
        Visits(lambda netns, _pid: host.lookups[netns]), host.namespaces, lambda: 1
    )
    tried = set()
    samples = 0
    while host.find(tried=tried) is None:
        samples += 1
        assert samples < len(many)
    assert samples >= len(many) // 8
