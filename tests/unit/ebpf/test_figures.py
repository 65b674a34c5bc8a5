"""Figures of programs and maps, from structs as the kernel fills them."""

from __future__ import annotations

import ctypes as c
import errno
import struct
from types import SimpleNamespace

import pytest

from xctl_probe.ebpf import figures
from xctl_probe.ebpf.batches import count_batches
from xctl_probe.ebpf.figures import read_figures
from xctl_probe.ebpf.programs import Handles, Hooks
from xctl_probe.figures import MapFigures, ProgramFigures, RingFigures

HASH, ARRAY, SK_STORAGE, UNKNOWN = 1, 2, 24, 97
PERF_EVENT, KRETPROBE = 7, 4
RING = RingFigures(4_096, 23, 1_009)


def map_of(kind, most):
    return struct.pack("=5I", kind, 7, 8, 48, most)


def program_of(ns, count, misses):
    return bytes(192) + struct.pack("=3Q", ns, count, misses)


class Kernel:
    """Stands in for the library: infos by descriptor, and the items of each hash."""

    def __init__(self):
        self.infos, self.items, self.error = {}, {}, 0
        self.batches = 0

    def get_info(self, fd, buffer, _length):
        buffer[: len(self.infos[fd])] = self.infos[fd]
        return 0

    def lookup_batch(self, fd, _start, _cursor, _keys, _values, count):
        self.batches += 1
        if self.error:
            c.set_errno(self.error)
            return -1
        taken = min(count.contents.value, self.items[fd])
        count.contents.value = taken
        self.items[fd] -= taken
        if self.items[fd]:
            return 0
        c.set_errno(errno.ENOENT)
        return -1


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def read(kernel, monkeypatch, tmp_path):
    """Read the figures of these programs, links and maps; each list has descriptors by name."""
    statistics = tmp_path / "bpf_stats_enabled"
    monkeypatch.setattr(figures, "_STATISTICS", statistics)

    def run(*, programs=None, links=None, maps=None, ring=RING, counting=False):
        statistics.write_text(f"{int(counting)}\n")
        handles = Handles(
            programs or {}, links or {}, maps or {}, kernel.get_info, kernel.lookup_batch
        )
        running = SimpleNamespace(
            name="fentry",
            programs=SimpleNamespace(handles=lambda: handles),
            queue=SimpleNamespace(use=lambda: ring),
            hooks=Hooks(("a",), ("b",), ("d",)),
            rejected=("kprobe: none",),
            fields={"mptcp": True},
        )
        reading = read_figures(running, {"open_stalls": 19})
        run.pieces = 0
        while True:
            try:
                next(reading)
            except StopIteration as made:
                return made.value
            run.pieces += 1

    return run


def test_a_hash_is_counted_in_pieces(kernel, read):
    """512 items each: 1,543 are four."""
    kernel.infos[3] = map_of(HASH, 16_384)
    kernel.items[3] = 1_543
    found = read(maps={"processes": 3})
    assert found.maps == (MapFigures("processes", "hash", 16_384, 1_543, None),)
    assert kernel.batches == 4
    assert read.pieces == 5


@pytest.mark.parametrize(
    ("kind", "most", "expected"),
    [
        (ARRAY, 6, MapFigures("m", "array", 6, None, None)),
        (SK_STORAGE, 0, MapFigures("m", "sk_storage", None, None, None)),
        (UNKNOWN, 7, MapFigures("m", "97", 7, None, None)),
    ],
)
def test_other_maps_are_not_counted(kernel, read, kind, most, expected):
    kernel.infos[3] = map_of(kind, most)
    assert read(maps={"m": 3}).maps == (expected,)
    assert kernel.batches == 0


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSPC, 524])
def test_a_kernel_that_refuses_batches_gives_no_count(kernel, read, error):
    """Before 5.6, or with more items in one bucket than a batch takes."""
    kernel.infos[3] = map_of(HASH, 16_384)
    kernel.error = error
    assert read(maps={"m": 3}).maps[0].entries is None


def test_the_kernel_counts_runs_while_its_statistics_are_on(kernel, read):
    kernel.infos[3] = program_of(ns=38_000_114, count=1_000_003, misses=7)
    kernel.infos[5] = program_of(ns=0, count=0, misses=0)
    programs = {"on_send": 3, "on_reset": 5}
    assert read(programs=programs, counting=True).programs == (
        ProgramFigures("on_send", 7, 1_000_003, 38_000_114),
        ProgramFigures("on_reset", 0, 0, 0),
    )
    # On for a while, and off again.
    assert read(programs=programs).programs == (
        ProgramFigures("on_send", 7, 1_000_003, 38_000_114),
        ProgramFigures("on_reset", 0, None, None),
    )


def test_missed_returns_are_those_of_the_link(kernel, read):
    kernel.infos[3] = program_of(ns=0, count=0, misses=7)
    kernel.infos[11] = struct.pack("=I12xI28xQ", PERF_EVENT, KRETPROBE, 1_009)
    found = read(programs={"end_udp_sendmsg": 3}, links={"end_udp_sendmsg": 11})
    assert found.programs[0].misses == 1_016


def test_what_was_detected_on_this_kernel(kernel, read):
    kernel.infos[3] = map_of(SK_STORAGE, 0)
    kernel.infos[5] = program_of(0, 0, 0)
    found = read(maps={"sockets": 3}, programs={"on_full_buffer": 5}, links={}, ring=None)
    assert found.features == {
        "ring_buffer": False,
        "socket_storage": True,
        "full_buffer_hook": True,
        "links": False,
        "run_statistics": False,
        "mptcp": True,
    }
    assert (found.attach, found.rejected, found.ring) == ("fentry", ("kprobe: none",), None)
    assert (found.attached, found.missing, found.refused) == (("a",), ("b",), ("d",))
    assert found.counts == {"open_stalls": 19}


def test_an_empty_hash_is_counted(kernel):
    kernel.items[3] = 0
    counts = count_batches(lambda *given: kernel.lookup_batch(3, *given), 8, 48)
    assert list(counts) == [0]
