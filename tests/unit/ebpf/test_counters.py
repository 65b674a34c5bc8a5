"""Counters of the kernel, in structs as long as this kernel's or shorter."""

from __future__ import annotations

import struct

import pytest

from xctl_probe.ebpf.counters import (
    MapInfo,
    kprobe_misses,
    map_info,
    per_cpu_sums,
    recursion_misses,
    runs,
)

FD = 23
TRACING, PERF_EVENT = 2, 7  # enum bpf_link_type
UPROBE, KPROBE, KRETPROBE = 1, 3, 4  # enum bpf_perf_event_type


def kernel(info: bytes):
    """Stands in for bpf_obj_get_info_by_fd()."""

    def get_info(fd, buffer, _length):
        assert fd == FD
        buffer[: len(info)] = info
        return 0

    return get_info


def test_recursion_misses_are_at_their_place() -> None:
    info = bytes(208) + struct.pack("=Q", 1_000_003)
    assert recursion_misses(kernel(info), FD) == 1_000_003
    assert recursion_misses(kernel(info[:208]), FD) == 0  # before 5.12


@pytest.mark.parametrize(
    ("link", "event", "missed"),
    [
        (PERF_EVENT, KPROBE, 1_009),
        (PERF_EVENT, KRETPROBE, 1_009),
        (PERF_EVENT, UPROBE, 0),
        (TRACING, KPROBE, 0),
    ],
)
def test_only_the_link_of_a_kprobe_counts_misses(link, event, missed) -> None:
    info = struct.pack("=I12xI28xQ", link, event, 1_009)
    assert kprobe_misses(kernel(info), FD) == missed
    assert kprobe_misses(kernel(info[:48]), FD) == 0  # before 6.7


def test_a_counter_is_the_sum_of_its_cpus() -> None:
    class Array:
        def lookup(self, key, copies):
            assert copies == 3
            return {0: struct.pack("=3Q", 7, 11, 13), 1: None}[struct.unpack("=I", key)[0]]

    assert per_cpu_sums(Array(), 2, 3) == [31, 0]  # type: ignore[arg-type]


def test_runs_and_their_time_are_at_their_places() -> None:
    info = bytes(192) + struct.pack("=QQ", 38_000_114, 1_000_003)
    assert runs(kernel(info), FD) == (1_000_003, 38_000_114)
    assert runs(kernel(info[:192]), FD) == (0, 0)  # before 5.1


def test_the_declaration_of_a_map() -> None:
    info = struct.pack("=5I", 9, 4_241, 8, 48, 16_384)
    assert map_info(kernel(info), FD) == MapInfo(9, 8, 48, 16_384)
