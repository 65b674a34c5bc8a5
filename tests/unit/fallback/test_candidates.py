"""Which connections the rules decide about makes no difference; what is idle is not lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_host import OTHER, World, traffic
from support.tcp_model import ESTABLISHED, MS, OWNER, Tcp

from xctl_probe.fallback.sock_diag import decode
from xctl_probe.fallback.socket_table import SocketTable
from xctl_probe.stalls.peer_inspector import PeerState

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


class AllCandidates(SocketTable):
    """As it would be if the rules decided about every connection that changes, or may change."""

    def _note_candidates(self, sampled, _times):
        for index, number in enumerate(sampled.numbers.tolist()):
            self._candidates[number] = decode(sampled.payload(index))


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
            tcp.send(number, acked=False).receive(7, acks=True)
        elif what == "retransmit":
            tcp.retransmits_ever += 1
        elif what == "hole":
            tcp.rmem = 2_304 - tcp.rmem
            tcp.out_of_order += tcp.rmem > 0
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
def test_to_decide_about_a_few_makes_no_difference(steps):
    """Whatever happens on two connections, the events are those of rules that see all."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        worlds = [Seen(monkeypatch, kind, some_tcps()) for kind in (SocketTable, AllCandidates)]
        for what, number in [*steps, ("take_sample", 0), ("collect", 0)]:
            for seen in worlds:
                seen.step(what, number)
    assert worlds[0].events == worlds[1].events


def idle_world(monkeypatch):
    world = World(monkeypatch)
    world.diag.open.append(Tcp())
    world.take_sample(1)
    world.collect(2)
    assert world.rows("active").tolist() == [False]
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
    world.other_end.shows = PeerState.UNKNOWN
    (tcp,) = world.diag.open
    for n in range(9):
        assert world.rows("active").tolist() == [False]
        tcp.at(97 + n * 100).receive(200_003)
        world.take_sample(98 + n * 100)
    assert world.rows("active").tolist() == [True]
    assert traffic(world.collect(905)) == [(OWNER, 0, 9 * 200_003)]
    assert world.rows("active").tolist() == [True]
    assert world.collect(1_004) == []
    assert world.collect(1_396) == []
    assert world.rows("active").tolist() == [True]
    assert world.collect(1_397) == []
    world.take_sample(1_398)
    assert world.rows("active").tolist() == [False]


def test_an_idle_connection_that_vanishes_unreported_is_forgotten(monkeypatch):
    """Its end was lost: after some intervals nothing of it is left, its owner neither."""
    world = idle_world(monkeypatch)
    (inode,) = world.rows("inode").tolist()
    assert inode in world.owners.found
    world.diag.open.clear()
    for n in range(1, 12):
        world.collect(n * 1_000)
    assert len(world.connections._rows) == 0
    assert not world.connections._rows.array["cookie"].any()
    assert inode not in world.owners.found


def test_a_connection_with_counts_that_no_kernel_has_moves_nothing(monkeypatch):
    """More was sent again than was sent."""
    world = World(monkeypatch)
    tcp = Tcp().send(7).receive(11)
    tcp.retransmitted_bytes = 2**64 - 1
    world.diag.open = [tcp]
    world.take_sample(1)
    assert world.collect(2) == []
    tcp.retransmitted_bytes = 2**63
    world.take_sample(3)
    assert world.collect(4) == []


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
    assert len(world.connections._rows) == 0


@pytest.mark.parametrize("noted", [True, False])
def test_a_pause_shows_where_nothing_was_sampled_because_nothing_changed(monkeypatch, noted):
    """What comes after it is a transfer of its own; else the pause would count as part of one."""
    world = idle_world(monkeypatch)
    (tcp,) = world.diag.open
    tcp.at(97).receive(200_003)
    world.take_sample(98)
    begun_ns = world.rows("flow_begin_ns")[0]
    if noted:
        world.connections.note_unchanged(tcp.now_ns + 700 * MS)
    tcp.at(900).receive(200_003)
    world.take_sample(901)
    assert (world.rows("flow_begin_ns")[0] == begun_ns) is not noted
