"""Figures of loaded kernel programs, read when somebody asks: in pieces below a millisecond."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path

from xctl_probe.ebpf.attach_variants import FULL_BUFFER
from xctl_probe.ebpf.batches import count_batches
from xctl_probe.ebpf.counters import kprobe_misses, map_info, recursion_misses, runs
from xctl_probe.ebpf.programs import Handles, LoadedPrograms
from xctl_probe.figures import MapFigures, ProgramFigures, Reading, SourceFigures
from xctl_probe.linux import procfs

_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
# enum bpf_map_type in include/uapi/linux/bpf.h
_TYPES = {
    1: "hash",
    2: "array",
    5: "percpu_hash",
    6: "percpu_array",
    9: "lru_hash",
    22: "queue",
    24: "sk_storage",
    27: "ringbuf",
}
_COUNTED = frozenset(("hash", "lru_hash"))  # the entries of others are all there, or not listed
_BATCH = 512  # items, of which a socket's state of 272 bytes is the largest


def read_figures(running: LoadedPrograms, counts: Mapping[str, int]) -> Reading:
    """Read the use of ring and maps, and the runs of programs; `yield` between the pieces."""
    handles = running.programs.handles()
    maps, programs = yield from read_programs(handles)
    counted = _counts_runs()
    ring = running.queue.use()
    return SourceFigures(
        attach=running.name or None,
        rejected=running.rejected,
        features={
            "ring_buffer": ring is not None,
            "socket_storage": any(one.type == "sk_storage" for one in maps),
            "full_buffer_hook": FULL_BUFFER in handles.programs,
            "links": bool(handles.links),
            "run_statistics": counted,
            **running.fields,
        },
        attached=running.hooks.attached,
        missing=running.hooks.missing,
        refused=running.hooks.refused,
        ring=ring,
        maps=maps,
        programs=programs,
        counts=counts,
    )


def read_programs(
    handles: Handles,
) -> Generator[None, None, tuple[tuple[MapFigures, ...], tuple[ProgramFigures, ...]]]:
    """Read the use of the maps and the runs of the programs; `yield` between the pieces."""
    maps = []
    for name, fd in handles.maps.items():
        maps.append((yield from _map(handles, name, fd)))
    programs = []
    counted = _counts_runs()
    for name in handles.programs:
        programs.append(_program(handles, name, counted=counted))
        yield
    return tuple(maps), tuple(programs)


def _counts_runs() -> bool:
    return procfs.read_once(_STATISTICS).strip() == b"1"


def _map(handles: Handles, name: str, fd: int) -> Generator[None, None, MapFigures]:
    info = map_info(handles.get_info, fd)
    kind = _TYPES.get(info.type, str(info.type))
    memory = procfs.status_field(procfs.read_once(f"/proc/self/fdinfo/{fd}", 1024), "memlock")
    yield
    entries = None
    if kind in _COUNTED:
        lookup = partial(handles.lookup_batch, fd)
        try:
            entries = 0
            for found in count_batches(lookup, info.key_bytes, info.value_bytes, _BATCH):
                entries += found
                yield
        except OSError:  # before 5.6, or more than a batch in one bucket
            entries = None
    return MapFigures(name, kind, info.max_entries or None, entries, _number(memory))


def _program(handles: Handles, name: str, *, counted: bool) -> ProgramFigures:
    fd, link = handles.programs[name], handles.links.get(name)
    misses = recursion_misses(handles.get_info, fd)
    if link is not None:
        misses += kprobe_misses(handles.get_info, link)
    count, run_ns = runs(handles.get_info, fd)
    known = counted or count > 0
    return ProgramFigures(name, misses, count if known else None, run_ns if known else None)


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None
