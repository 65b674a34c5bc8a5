"""What a peer answers to the same process on another connection, while one of them waits."""

from __future__ import annotations

import pytest
from support.fake_host import OTHER, World, stalls
from support.tcp_model import COOKIE, INODE, MS, OWNER, Tcp

from xctl_probe.stalls.reply_waits import ReplyWaits

ALWAYS = range(100, 2_000, 200)


def two_connections(monkeypatch, answered_ms, *, owner=OWNER, both_known=False):
    """To one peer, of which the second is answered at these times while the first one waits.

    `both_known`: eight times before, too, for the last time at 84 ms.
    """
    world = World(monkeypatch, replies=ReplyWaits(100 * MS, reply_ns=1_000 * MS))
    waiting, asked = Tcp(), Tcp()
    asked.cookie, asked.inode = COOKIE + 1, INODE + 1
    world.owners.now[INODE + 1] = owner
    world.diag.open += [waiting, asked]
    world.take_sample(1)
    world.collect(2)
    for now_ms in range(10, 90, 10):  # eight replies: one is due
        waiting.at(now_ms).send(53)
        waiting.at(now_ms + 3).receive(13)
        if both_known:
            asked.at(now_ms + 1).send(53)
            asked.at(now_ms + 4).receive(13)
        world.take_sample(now_ms + 7)
    waiting.at(90).send(53)
    for now_ms in range(100, 2_000, 200):
        world.take_sample(now_ms)
        if now_ms in answered_ms:
            asked.at(now_ms + 50).send(53)
            asked.at(now_ms + 80).receive(13)
    return world, asked, stalls(world.collect(2_000))


def test_a_peer_that_answers_another_connection_of_the_process_may_owe_nothing(monkeypatch):
    assert two_connections(monkeypatch, ALWAYS)[2] == []


def test_what_a_peer_answers_to_another_process_shows_nothing(monkeypatch):
    (stall,) = two_connections(monkeypatch, ALWAYS, owner=OTHER)[2]
    assert (stall.owner, stall.duration_ns // MS, stall.ongoing) == (OWNER, 1_910, True)


@pytest.mark.parametrize(("at_ms", "reported"), [(5_083, 0), (5_084, 1)])
def test_a_peer_that_answers_every_few_seconds_will_be_asked_again(monkeypatch, at_ms, reported):
    """Within five since its answer on the other connection, which came before the wait."""
    world = two_connections(monkeypatch, (), both_known=True)[0]
    assert len(stalls(world.collect(at_ms))) == reported


def test_when_the_reply_of_the_other_connection_is_late_as_well_both_are_reported(monkeypatch):
    world, asked, found = two_connections(monkeypatch, (), both_known=True)
    assert found == []
    asked.at(2_003).send(53)
    for now_ms in (2_050, 2_500):  # it is only slow
        world.take_sample(now_ms)
    assert stalls(world.collect(2_900)) == []
    found = stalls(world.collect(3_100))
    assert sorted(stall.duration_ns // MS for stall in found) == [1_097, 3_010]
