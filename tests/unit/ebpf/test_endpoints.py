"""Where the kernel keeps the history of a peer, and which one is whose."""

from __future__ import annotations

import pytest
from support.fake_kernel_events import lasts

from xctl_probe.ebpf.abi import ENDPOINT, ENDPOINT_KEY, PEER
from xctl_probe.ebpf.endpoints import PLACES, TRIES, peer_hash, peer_of, places, request_history_of
from xctl_probe.stalls.request_history import RequestHistory

UID = 1_009
WAIT = lasts(150, uid=UID, comm=b"client".ljust(16, b"\0"))
OF_WAIT = peer_of(WAIT)


def kept(*entries):
    """The kernel's map with these: the number of the place that the wait's peer may have, and
    what lies there.
    """
    keys = places(UID, OF_WAIT)
    found = {keys[at]: ENDPOINT.pack(peer, *counts) for at, peer, counts in entries}
    return found.get


def test_a_history_is_found_in_each_place_that_it_may_have():
    for at in range(TRIES):
        assert request_history_of(WAIT, kept((at, OF_WAIT, (11, 3)))) == RequestHistory(11, 3)


def test_another_peer_s_in_its_place_is_not_its_own():
    """The next one may be."""
    other = peer_of(WAIT._replace(remote_port=7))
    assert request_history_of(WAIT, kept((0, other, (11, 3)))) == RequestHistory()
    both = kept((0, other, (11, 3)), (2, OF_WAIT, (13, 0)))
    assert request_history_of(WAIT, both) == RequestHistory(13)


@pytest.mark.parametrize(
    "other",
    [
        {"uid": UID + 1},
        {"comm": b"other".ljust(16, b"\0")},
        {"netns": 3},
        {"remote_port": 7},
        {"remote_address": bytes((10, 0, 0, 13)) + bytes(12)},
    ],
)
def test_each_owner_and_peer_has_a_history_of_its_own(other):
    everywhere = kept(*((at, OF_WAIT, (11, 3)) for at in range(TRIES)))
    assert request_history_of(WAIT._replace(**other), everywhere) == RequestHistory()


def test_what_an_older_kernel_leaves_behind_a_name_is_no_part_of_it():
    left = WAIT._replace(comm=b"client\0thread-17"[:16])
    assert peer_of(left) == OF_WAIT


def test_a_user_has_so_many_places_and_no_more():
    """However many peers: none of another user's is among them."""
    keys = set()
    for port in range(20_011):
        keys |= set(places(UID, peer_of(WAIT._replace(remote_port=port))))
    assert len(keys) == PLACES
    assert {ENDPOINT_KEY.unpack(key)[0] for key in keys} == {UID}


def test_the_hash_is_the_kernel_s():
    """Of words 1 to 5, as bpf/include/peer_history.bpf.h computes it."""
    peer = b"".join(number.to_bytes(8, "little") for number in (1, 2, 3, 4, 5))
    assert len(peer) == PEER.size
    value = 0
    for word in (1, 2, 3, 4, 5):
        value = ((value ^ word) * 0x9E3779B97F4A7C15) % 2**64
        value ^= value >> 32
    assert peer_hash(peer) == value % 2**32
