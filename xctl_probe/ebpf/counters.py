"""Counters that the kernel keeps of programs and links, and sums of per-CPU maps.

Read through whichever library: bpf(2), BPF_OBJ_GET_INFO_BY_FD and BPF_MAP_LOOKUP_ELEM.
"""

from __future__ import annotations

import ctypes as c
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from xctl_probe.ebpf.programs import Map

# include/uapi/linux/bpf.h
_LINK_TYPE_PERF_EVENT = 7
_KPROBE_EVENTS = (3, 4)  # BPF_PERF_EVENT_KPROBE, BPF_PERF_EVENT_KRETPROBE
_RECURSION_MISSES_AT = 208  # in struct bpf_prog_info
_RUN_NS_AT, _RUNS_AT = 192, 200  # in struct bpf_prog_info
_MAP_INFO = struct.Struct("=5I")  # type, id, key_size, value_size, max_entries
_KPROBE_MISSED_AT = 48  # in struct bpf_link_info: perf_event.kprobe.missed
_INFO_BYTES = 256  # no less than either

# Takes descriptor, buffer and the address of its length, as bpf_obj_get_info_by_fd() does.
GetInfo = Callable[[int, Any, Any], object]


def recursion_misses(get_info: GetInfo, program_fd: int) -> int:
    """Return how often a program did not run because it would have interrupted itself (5.12)."""
    return _u64_at(_info(get_info, program_fd), _RECURSION_MISSES_AT)


def kprobe_misses(get_info: GetInfo, link_fd: int) -> int:
    """Return how often a kprobe was missed: the threads under a kretprobe are limited (6.7)."""
    info = _info(get_info, link_fd)
    link_type, event_type = (int.from_bytes(info[at : at + 4], "little") for at in (0, 16))
    if link_type != _LINK_TYPE_PERF_EVENT or event_type not in _KPROBE_EVENTS:
        return 0
    return _u64_at(info, _KPROBE_MISSED_AT)


def runs(get_info: GetInfo, program_fd: int) -> tuple[int, int]:
    """Return how often a program ran, and the ns; 0 while the kernel does not count (5.1)."""
    info = _info(get_info, program_fd)
    return _u64_at(info, _RUNS_AT), _u64_at(info, _RUN_NS_AT)


class MapInfo(NamedTuple):
    """The beginning of struct bpf_map_info: enum bpf_map_type, sizes in bytes."""

    type: int
    key_bytes: int
    value_bytes: int
    max_entries: int


def map_info(get_info: GetInfo, map_fd: int) -> MapInfo:
    """Return the declaration of a map, as the kernel has it."""
    kind, _, key_bytes, value_bytes, most = _MAP_INFO.unpack_from(_info(get_info, map_fd))
    return MapInfo(kind, key_bytes, value_bytes, most)


def per_cpu_sums(array: Map, entries: int, cpus: int) -> list[int]:
    """Return a per-CPU array of 64-bit counters, added up over the CPUs."""
    layout = struct.Struct(f"={cpus}Q")
    values = (array.lookup(struct.pack("=I", i), cpus) for i in range(entries))
    return [sum(layout.unpack(value)) if value else 0 for value in values]


def _info(get_info: GetInfo, fd: int) -> bytes:
    """Return struct bpf_prog_info or bpf_link_info, zero where the kernel's is shorter."""
    info = c.create_string_buffer(_INFO_BYTES)
    get_info(fd, info, c.byref(c.c_uint32(_INFO_BYTES)))
    return info.raw


def _u64_at(info: bytes, at: int) -> int:
    return int.from_bytes(info[at : at + 8], "little")
