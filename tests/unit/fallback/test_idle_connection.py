"""A connection that rests is the same connection when it wakes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_host import OTHER, World, traffic
from support.tcp_model import ESTABLISHED, OWNER, Tcp

from xctl_probe.fallback.idle_connection import inode_and_uid_of
from xctl_probe.fallback.socket_table import SocketTable

_STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 2_000_003)),
    st.tuples(st.just("receive"), st.integers(1, 2_000_003)),
    st.tuples(st.just("fill"), st.just(1_000_003)),
    st.tuples(st.just("unanswered"), st.integers(1, 97)),
    st.tuples(st.just("acknowledge"), st.integers(0, 1)),
    st.tuples(st.just("exchange"), st.integers(1, 2_000_003)),
    st.tuples(st.just("retransmit"), st.integers(0, 1)),
    st.tuples(st.just("hole"), st.integers(0, 1)),
    st.tuples(st.just("limited"), st.integers(0, 1)),
    st.tuples(st.just("fork"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(1, 1_500)),
    st.tuples(st.just("take_sample"), st.just(0)),
    st.tuples(st.just("collect"), st.just(0)),
)


class NeverIdle(SocketTable):
    """As it would be if every connection were kept whole."""

    def _make_idle(self, connection) -> None:
        pass


class Seen:
    """One world and what came of the steps in it."""

    def __init__(self, monkeypatch, kind, tcps):
        self.world = World(monkeypatch)
        self.world.connections.__class__ = kind
        self.world.diag.open = tcps
        self.now_ms, self.events = 2, []
        self.world.take_sample(1)
        self.world.collect(2)

    def step(self, what, number):
        tcp = self.world.diag.open[number % len(self.world.diag.open)].at(self.now_ms)
        if what == "wait":
            self.now_ms += number
        elif what == "take_sample":
            self.world.take_sample(self.now_ms)
        elif what == "collect":
            self.events.append(sorted(map(repr, self.world.collect(self.now_ms))))
        elif what == "unanswered":
            tcp.send(number, acked=False)
        elif what == "acknowledge":
            tcp.acknowledge()
        elif what == "exchange":
            tcp.send(number).receive(7)
        elif what == "retransmit":
            tcp.retransmits_ever += 1
        elif what == "hole":
            tcp.rmem = 2_304 - tcp.rmem
        elif what == "limited":
            tcp.rwnd_limited_us += 1_009
        elif what == "fork":
            self.world.owners.now[tcp.inode] = OTHER
        else:
            getattr(tcp, what)(number)


def some_tcps():
    """An opened and an accepted one, each with a socket of its own."""
    one, other = Tcp(), Tcp(opened=False)
    other.cookie, other.inode = one.cookie + 1, one.inode + 1
    return [one, other]


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(_STEPS, max_size=40))
def test_to_rest_makes_no_difference(steps):
    """Whatever happens on two connections, the events are those of connections kept whole."""

    with pytest.MonkeyPatch.context() as monkeypatch:
        worlds = [Seen(monkeypatch, kind, some_tcps()) for kind in (SocketTable, NeverIdle)]
        for what, number in [*steps, ("take_sample", 0), ("collect", 0)]:
            for seen in worlds:
                seen.step(what, number)
    assert worlds[0].events == worlds[1].events


def idle_world(monkeypatch):
    world = World(monkeypatch)
    world.diag.open.append(Tcp())
    world.take_sample(1)
    world.collect(2)
    assert not world.connections._connections
    assert len(world.connections._idle) == 1
    return world


def test_a_flow_that_closes_is_reported_once_though_it_was_watched(monkeypatch):
    """It rests, wakes, and the object that was there before must not rest again in its place."""
    world = idle_world(monkeypatch)
    (tcp,) = world.diag.open
    reported = []
    for n, count in ((1, 1_000_003), (2, 0), (3, 2_000_003), (4, 0), (5, 0)):
        if count:
            tcp.at(n * 1_000).receive(count)
        world.take_sample(n * 1_000 + 1)
        reported += traffic(world.collect(n * 1_000 + 2))
    assert reported == [(OWNER, 0, 1_000_003), (OWNER, 0, 2_000_003)]


def test_a_transfer_is_active_from_800_ms_on_and_idle_once_it_is_over(monkeypatch):
    """It may break off; where neither a thread nor its sender shows that, it has not."""
    world = idle_world(monkeypatch)
    (tcp,) = world.diag.open
    for n in range(9):
        assert not world.connections._connections
        tcp.at(97 + n * 100).receive(200_003)
        world.take_sample(98 + n * 100)
    (connection,) = world.connections._connections.values()
    assert connection.transfers
    assert traffic(world.collect(905)) == [(OWNER, 0, 9 * 200_003)]
    assert world.connections._connections
    assert world.collect(1_004) == []
    assert world.collect(1_196) == []
    assert world.connections._connections
    assert world.collect(1_197) == []
    assert not world.connections._connections
    assert len(world.connections._idle) == 1


def test_an_idle_connection_that_vanishes_unreported_is_forgotten(monkeypatch):
    """Its end was lost: after some intervals nothing of it is left, its owner neither."""
    world = idle_world(monkeypatch)
    ((cookie, idle),) = world.connections._idle.items()
    inode, _ = inode_and_uid_of(idle)
    assert inode in world.owners.found
    world.diag.open.clear()
    for n in range(1, 12):
        world.collect(n * 1_000)
    assert not world.connections._idle
    assert not world.connections._missing
    assert inode not in world.owners.found
    assert cookie not in world.connections._connections


def test_a_connection_with_counts_that_no_kernel_has_stays_active(monkeypatch):
    """More was sent again than was sent: that cannot be packed."""
    world = World(monkeypatch)
    tcp = Tcp().send(7).receive(11)
    tcp.retransmitted_bytes = 2**64 - 1
    world.diag.open = [tcp]
    world.take_sample(1)
    assert world.collect(2) == []
    assert not world.connections._idle
    assert len(world.connections._connections) == 1


def test_an_idle_connection_that_closes_keeps_its_owner_for_the_last_bytes(monkeypatch):
    """The kernel's last message has no inode, no uid: the kept ones count."""
    world = idle_world(monkeypatch)
    (tcp,) = world.diag.open
    assert tcp.state == ESTABLISHED
    tcp.at(900).send(23)
    tcp.retransmits_ever = 1
    world.closes(tcp)
    error, moved = world.collect(1_000)
    assert (moved.owner, moved.sent_bytes) == (OWNER, 23)
    assert error.owner == OWNER
    assert error.socket.uid is not None
    assert error.socket.inode
    assert not world.connections._idle
