"""Whose a connection is: found, followed, kept; and what is not searched for."""

from __future__ import annotations

import pytest
from support.fake_host import OTHER, World, stalls, traffic, with_connection
from support.tcp_model import COOKIE, INODE, OWNER, SOCKET, UID, Tcp

from xctl_probe.events import ErrorKind, SocketError, TrafficDelta
from xctl_probe.fallback import owner_cache


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_a_connection_in_a_listeners_queue_gets_its_owner_when_accepted(world):
    """Inode 0 until then; what came meanwhile is reported with its owner."""
    tcp = Tcp(opened=False)
    tcp.inode = 0
    with_connection(world, tcp)
    tcp.at(11).receive(7)
    assert traffic(world.collect(1_000)) == []
    tcp.inode = INODE
    assert traffic(world.collect(2_000)) == [(OWNER, 0, 7)]
    tcp.at(2_011).receive(11)
    tcp.retransmits_ever = 1
    events = world.collect(3_000)
    assert traffic(events) == [(OWNER, 0, 11)]
    assert events[0].socket == SOCKET


def test_a_socket_handed_to_another_process_follows_it(world):
    """After a fork the parent closes its copy: the next bytes are the child's."""
    tcp = with_connection(world)
    tcp.at(11).send(7)
    assert traffic(world.collect(1_000)) == [(OWNER, 7, 0)]
    world.owners.now[INODE] = OTHER
    tcp.at(1_011).send(13)
    assert traffic(world.collect(2_000)) == [(OTHER, 13, 0)]


def test_a_closed_socket_keeps_its_last_owner(world):
    """Bytes that drain after the close (inode 0) belong to the process that wrote them."""
    tcp = with_connection(world)
    tcp.at(11).send(7)
    world.collect(1_000)
    world.owners.now.clear()
    tcp.inode = 0
    tcp.at(1_011).send(13)
    assert traffic(world.collect(2_000)) == [(OWNER, 13, 0)]


def test_no_process_searches_for_other_users_processes(monkeypatch):
    """Without privilege their sockets are reported with the uid, and /proc is left alone."""
    world = World(monkeypatch, uid=UID + 1)
    tcp = with_connection(world)
    tcp.at(11).send(7)
    tcp.retransmits_ever = 1
    error, moved = world.collect(1_000)
    assert error == SocketError(None, SOCKET, ErrorKind.RETRANSMIT, 1)
    assert moved == TrafficDelta(None, "eth0", 7, 0)
    assert world.owners.searches == []


def test_an_owner_that_is_not_there_is_not_sought_for_ever(world):
    """Ever less often: at the 1st, 2nd, 4th, 8th, 16th interval and at the first sample."""
    world.owners.now.clear()
    tcp = with_connection(world)
    for n in range(1, 30):
        tcp.at(n * 1_000 - 7).send(7)
        assert traffic(world.collect(n * 1_000)) == [(None, 7, 0)]
    assert len(world.owners.searches) == 6


def test_bytes_wait_for_an_owner_while_it_is_searched_for(world):
    """All of them are then the owner's."""
    world.owners.slow = True
    tcp = with_connection(world)
    tcp.at(11).send(7)
    assert world.collect(1_000) == []
    tcp.at(1_011).send(13)
    assert world.collect(2_000) == []
    world.owners.slow = False
    assert traffic(world.collect(3_000)) == [(OWNER, 20, 0)]
    assert len(world.owners.searches) == 1


def test_bytes_wait_for_the_owner_of_what_was_just_accepted(world):
    """It was in the queue of a listener, and its search is not over in that sample."""
    tcp = Tcp(opened=False)
    tcp.inode = 0
    with_connection(world, tcp)
    world.owners.slow = True
    tcp.inode = INODE
    tcp.at(11).receive(7)
    assert world.collect(1_000) == []
    tcp.at(1_011).receive(13)
    assert world.collect(2_000) == []
    world.owners.slow = False
    assert traffic(world.collect(3_000)) == [(OWNER, 0, 20)]


def test_a_connection_that_closes_meanwhile_is_reported_without_one(world):
    """Its descriptor is gone: no search finds its owner any more."""
    world.owners.slow = True
    tcp = with_connection(world)
    tcp.at(11).send(7)
    assert world.collect(1_000) == []
    world.closes(tcp)
    assert traffic(world.collect(2_000)) == [(None, 7, 0)]
    assert not world.owners.pending


def test_no_stall_is_reported_before_its_owner_is_found(world):
    world.owners.slow = True
    tcp = with_connection(world)
    tcp.at(11).send(53).receive(11).at(12).send(13)
    world.take_sample(200)
    assert world.collect(1_000) == []
    world.owners.slow = False
    world.take_sample(1_100)
    found = stalls(world.collect(1_200))
    assert {one.owner for one in found} == {OWNER}


def crowd(world, count):
    """So many connections of one process."""
    for number in range(count):
        tcp = Tcp()
        tcp.cookie, tcp.inode = COOKIE + number, INODE + number
        world.owners.now[tcp.inode] = OWNER
        world.diag.open.append(tcp)
    world.take_sample(1)
    assert world.collect(2) == []
    return world.diag.open


def test_of_many_sockets_a_few_are_checked_in_an_interval(world, monkeypatch):
    """20 are passed on, 4 are checked: those that move most at once, all within 10 intervals."""
    monkeypatch.setattr(owner_cache, "_MOST_CHECKED", 4)
    tcps = crowd(world, 20)
    checked = []
    stale = world.owners.stale
    monkeypatch.setattr(world.owners, "stale", lambda i: checked.append(len(i)) or stale(i))
    world.owners.now = dict.fromkeys(world.owners.now, OTHER)
    moved = {OWNER: 0, OTHER: 0}
    for n in range(1, 12):
        for number, tcp in enumerate(tcps):
            tcp.at(n * 1_000 - 7).send(1_009 if number in (7, 11) else 7)
        for owner, sent, _ in traffic(world.collect(n * 1_000)):
            moved[owner] += sent
        if n == 1:
            assert moved[OTHER] >= 2 * 1_009
    assert sum(moved.values()) == 11 * (2 * 1_009 + 18 * 7)
    assert max(checked) <= 4
    before = moved[OWNER]
    for tcp in tcps:
        tcp.at(12_000).send(7)
    for owner, sent, _ in traffic(world.collect(12_100)):
        moved[owner] += sent
    assert moved[OWNER] == before


def test_what_waits_is_checked_in_any_case(world, monkeypatch):
    """A stall names the process that holds the socket now."""
    monkeypatch.setattr(owner_cache, "_MOST_CHECKED", 4)
    tcps = crowd(world, 20)
    waits = tcps[13]
    waits.at(11).send(53).receive(11).at(13).send(53)
    world.take_sample(14)
    world.take_sample(200)
    world.owners.now = dict.fromkeys(world.owners.now, OTHER)
    for number, tcp in enumerate(tcps):
        if tcp is not waits:
            tcp.at(990).send(1_009 * number)
    assert [one.owner for one in stalls(world.collect(1_000))] == [OTHER]


def test_an_owner_that_was_found_for_a_peer_changes_that_of_one_socket(world):
    """What the search has found since, of one of two sockets, is not claimed of the other."""
    tcps = crowd(world, 2)
    for n in (1, 2):
        world.owners.found[INODE] = OTHER
        world.owners.now[INODE] = OTHER
        for tcp in tcps:
            tcp.at(n * 1_000 - 7).send(7)
        assert sorted(traffic(world.collect(n * 1_000)), key=repr) == sorted(
            [(OWNER, 7, 0), (OTHER, 7, 0)], key=repr
        )
