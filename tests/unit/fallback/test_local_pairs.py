"""Which sockets of a dump are those of one connection."""

from __future__ import annotations

from support.tcp_model import Tcp

from xctl_probe.fallback import local_pairs
from xctl_probe.fallback.local_pairs import pairs_of

SEGMENTS = 17
QUIET_MS = 9_001


def one(local, remote, inode, segments=SEGMENTS, unread=0, received=None):
    """One socket of a connection on which nothing has moved for QUIET_MS."""
    tcp = Tcp()
    tcp.local, tcp.remote, tcp.inode = ("127.0.0.1", local), ("127.0.0.1", remote), inode
    received = segments if received is None else received
    tcp.at(1_009).send(7 * segments, segments=segments).receive(11 * received, segments=received)
    tcp.rqueue = unread
    return tcp.at(1_009 + QUIET_MS).message()


def test_both_sockets_of_a_connection_that_carried_data_are_a_pair():
    messages = [
        one(40_009, 29_511, 11),
        one(29_511, 40_009, 13, unread=7),
        one(40_011, 443, 17),  # to another host
        one(40_013, 29_511, 19, segments=3),  # greeted only
        one(29_511, 40_013, 23, segments=3),
    ]
    (pair,) = pairs_of(messages)
    assert set(pair.inodes) == {11, 13}
    assert set(pair.addresses) == {"127.0.0.1:40009", "127.0.0.1:29511"}
    local = {11: "127.0.0.1:40009", 13: "127.0.0.1:29511"}
    assert [local[inode] for inode in pair.inodes] == list(pair.addresses)
    assert [inode for inode, unread in zip(pair.inodes, pair.unread, strict=True) if unread] == [13]
    assert pair.quiet_ms == QUIET_MS


def test_data_of_one_direction_are_enough():
    """As between the ranks of a ring of NCCL."""
    messages = [one(40_009, 29_511, 11, received=1), one(29_511, 40_009, 13, 1, received=SEGMENTS)]
    (pair,) = pairs_of(messages)
    assert set(pair.inodes) == {11, 13}


def test_a_host_of_very_many_connections_has_none(monkeypatch):
    monkeypatch.setattr(local_pairs, "_MOST_SOCKETS", 1)
    assert pairs_of([one(40_009, 29_511, 11), one(29_511, 40_009, 13)]) == []
