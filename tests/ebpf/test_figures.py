"""Figures of the programs and maps that are loaded here, compared with the maps themselves."""

from __future__ import annotations

import ctypes as c
import mmap

import pytest
from support.kernel_watch import RING_BYTES
from support.require import need_multipath

from xctl_probe.ebpf.abi import ENDPOINT, ENDPOINT_KEY
from xctl_probe.ebpf.source import MapSizes


def figures_of(seen):
    """The figures of a source, and in how many pieces they were read."""
    reading, pieces = seen.source.figures(), 0
    while True:
        try:
            next(reading)
        except StopIteration as made:
            return made.value, pieces
        pieces += 1


def map_of(found, name):
    (one,) = (one for one in found.maps if one.name == name)
    return one


def test_entries_are_those_of_the_map(watch):
    """Of one that only the start fills: the ports of listeners."""
    seen = watch()
    programs = seen.source._running.programs
    expected = len(list(programs.map("listen_ports", 8, 1).items()))
    found, _ = figures_of(seen)
    assert map_of(found, "listen_ports").entries == expected
    assert map_of(found, "listen_ports").max_entries == 16_384


def test_sizes_are_those_that_were_asked_for(watch):
    seen = watch(sizes=MapSizes(ring_bytes=mmap.PAGESIZE, processes=233, endpoints=40_009))
    found, _ = figures_of(seen)
    assert map_of(found, "processes").max_entries == 233
    assert map_of(found, "crowded_processes").max_entries == 233
    assert map_of(found, "endpoints").max_entries == 40_009
    assert found.ring.size_bytes == mmap.PAGESIZE


def test_a_small_size_has_room_for_what_the_cpus_hold_ready(watch):
    """A map that drops what was least recently used hands each CPU 128 free entries at once."""
    found, _ = figures_of(watch(sizes=MapSizes(ring_bytes=RING_BYTES, endpoints=1)))
    assert map_of(found, "endpoints").max_entries >= 256


def test_entries_that_another_batch_has_are_counted(watch):
    """Of a least recently used map, with more than two batches of them."""
    seen = watch()
    table = seen.source._running.programs.map("endpoints", ENDPOINT_KEY.size, ENDPOINT.size)
    before, few = figures_of(seen)
    for number in range(1_543):
        update(table, ENDPOINT_KEY.pack(number, number), bytes(ENDPOINT.size))
    after, many = figures_of(seen)
    added = map_of(after, "endpoints").entries - map_of(before, "endpoints").entries
    assert 1_543 <= added < 1_543 + 200  # others on this machine add theirs
    assert many >= few + 3


def update(table, key, value):
    """Set an entry, as a program would."""
    call = table._lib.bpf_map_update_elem
    call.argtypes = [c.c_int, c.c_char_p, c.c_char_p, c.c_uint64]
    assert not call(table.fd, key, value, 0)


def test_what_is_known_of_a_socket_of_multipath_tcp_goes_with_it(watch, peer):
    """Its end has no hook of its own; where sockets are in a hash, nothing else makes room."""
    need_multipath()
    seen = watch()
    before, _ = figures_of(seen)
    if map_of(before, "sockets").type != "hash":
        pytest.skip("what is known of a socket is a part of it")
    one = peer("losses.multipath_connections", 211)
    one.go()

    def known():
        return map_of(figures_of(seen)[0], "sockets").entries

    seen.until(lambda: known() < map_of(before, "sockets").entries + 101)


def test_every_attached_program_is_listed(watch):
    """With its hook's, and the iterators; those that are skipped are not."""
    seen = watch()
    found, _ = figures_of(seen)
    names = {one.name for one in found.programs}
    assert {"on_state", "on_reset", "drain_sockets", "iter_waiters"} <= names
    assert found.attached == seen.source.hooks.attached
    assert found.attach == seen.source.attach


def test_the_most_that_a_reading_found_in_the_ring_is_kept(watch, peer):
    """Of a thousand refused connects, a page holds a few."""
    seen = watch(sizes=MapSizes(ring_bytes=mmap.PAGESIZE))
    one = peer("connects.refused", "127.0.0.1", 997)
    one.go()
    seen.until(lambda: seen.lost("ring"))
    ring = figures_of(seen)[0].ring
    assert mmap.PAGESIZE // 2 < ring.most_used_bytes <= mmap.PAGESIZE
