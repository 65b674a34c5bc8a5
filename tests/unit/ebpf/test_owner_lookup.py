"""Owners that the kernel could not name are looked up, and not for more than is affordable."""

import pytest

from xctl_probe.ebpf import owner_lookup
from xctl_probe.ebpf.owner_lookup import OwnerLookup
from xctl_probe.events import ErrorKind, Process, Socket, SocketError, TrafficDelta

HOLDER = Process(4711, 7_001, "holder")
KNOWN = Process(4712, 7_002, "known")
MS = 1_000_000


class Owners:
    """Stands in for /proc: a search takes a while."""

    def __init__(self, clock):
        self.clock = clock
        self.searches = []
        self.found = {}

    def begin(self):
        pass

    def search(self, inodes, _asker):
        self.searches.append(set(inodes))
        self.clock[0] += 5 * MS
        self.found = {23: HOLDER}

    def get(self, inode):
        return self.found.get(inode)

    def forget(self, inodes):
        self.found = {i: p for i, p in self.found.items() if i not in inodes}


@pytest.fixture
def owners(monkeypatch):
    clock = [1_000 * MS]
    monkeypatch.setattr(owner_lookup.time, "monotonic_ns", lambda: clock[0])
    return Owners(clock)


def reset(inode, owner=None):
    socket = Socket(inode, 1, "tcp", "127.0.0.1", 1, "127.0.0.1", 2)
    return SocketError(owner, socket, ErrorKind.RESET, 1)


def test_who_holds_the_socket_owns_its_errors(owners):
    late = OwnerLookup(owners)
    traffic = TrafficDelta(None, "lo", 1, 2)
    events = [reset(23), traffic, reset(24), reset(25, KNOWN), reset(0)]
    reported = late.resolve(iter(events), 0)
    assert reported == [reset(23, HOLDER), traffic, reset(24), reset(25, KNOWN), reset(0)]
    assert owners.searches == [{23, 24}]
    assert owners.found == {}


def test_searching_takes_a_small_part_of_the_time(owners):
    late = OwnerLookup(owners)
    burst = [late.resolve([reset(23)], 0)[0].owner for _ in range(20)]
    assert burst == [HOLDER] * 10 + [None] * 10
    for now_ms in range(100, 3_001, 100):
        (reported,) = late.resolve([reset(23)], now_ms * MS)
        assert reported.owner == (HOLDER if now_ms in (100, 1_100, 2_100) else None)
    assert len(owners.searches) == 13


def test_no_process_searches_for_what_is_known(owners):
    late = OwnerLookup(owners)
    events = [reset(23, KNOWN), reset(0), TrafficDelta(None, None, 1, 2)]
    assert late.resolve(events, 0) == events
    assert owners.searches == []
