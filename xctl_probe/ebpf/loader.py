"""Loads the best attach variant that works on this kernel, or gives the reason why none does."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from xctl_probe.ebpf.abi import RECORD, SETTINGS
from xctl_probe.ebpf.attach_variants import (
    ATTACH_VARIANTS,
    FIELDS,
    FULL_BUFFER,
    MAP_ALLOCATOR,
    PROFILE,
    PROFILE_ALONE,
    TRACE,
    WAITERS,
    AttachVariant,
    Hook,
    kernel_names,
)
from xctl_probe.ebpf.bpf_object import Object, object_for, open_object
from xctl_probe.ebpf.libbpf import BpfError, Library
from xctl_probe.ebpf.programs import Hooks, LoadedPrograms
from xctl_probe.ebpf.ringbuf import Ring
from xctl_probe.errors import SourceUnavailable, UsageError
from xctl_probe.linux import capabilities
from xctl_probe.linux.heap import give_back_memory
from xctl_probe.linux.procfs import namespace_inode
from xctl_probe.metrics import DEFAULT, Metric

_CLOCK_MONOTONIC_COARSE = 6  # its resolution is the length of a jiffy (clock_getres(2))
_GROWING = (  # hashes that allocate memory as they fill
    "sockets", "processes", "crowded_processes", "asked_processes", "listen_ports",
    "reconcile_guard",
)  # fmt: skip
_LRU_OF_CPU = 256  # twice what each takes ahead: LOCAL_FREE_TARGET of kernel/bpf/bpf_lru_list.c
_LEAST_STACK_BYTES = 16_384  # THREAD_SIZE; on arm64 it is a page where that is larger


@dataclass(frozen=True, slots=True)
class MapSizes:
    """Bounds of the kernel's maps; events beyond them are counted as dropped."""

    ring_bytes: int = 1 << 20  # a power of two of pages
    processes: int = 16384  # and as many without their interface
    endpoints: int = 16384
    hashed_sockets: int = 65536  # only where sockets have no storage of their own


def lru_entries(least: int, cpus: int) -> int:
    """Return the size of a least recently used map, of which the CPUs hold at most half ready."""
    return max(least, cpus * _LRU_OF_CPU)


def load(
    attach: str,
    stall_ns: int,
    sizes: MapSizes,
    log: Callable[[str], None] | None,
    metrics: frozenset[Metric] = DEFAULT,
) -> LoadedPrograms:
    """Load and attach the programs, and set the owners of open sockets.

    `attach` is an attach variant or "auto"; `log` receives the messages of libbpf; programs that
    serve none of `metrics` are left out.
    Raises UsageError on an unknown name, SourceUnavailable where nothing works.
    """
    candidates = [f for f in ATTACH_VARIANTS if attach in ("auto", f.name)]
    if not candidates:
        known = ", ".join(dict.fromkeys(f.name for f in ATTACH_VARIANTS))
        msg = f"unknown attach variant {attach!r}: use auto, {known}"
        raise UsageError(msg)
    give_back_memory()  # of the start: libbpf needs most
    library, names = _open_kernel()
    reasons: dict[str, str] = {}
    last: _Unsupported | None = None  # its errno is shown by `check`
    for variant in candidates:
        try:
            chosen = variant.for_metrics(metrics)
            return _load(library, names, chosen, stall_ns, sizes, _sentences(reasons))
        except _Unsupported as refusal:
            reasons[variant.name] = str(refusal)
            last = refusal
        finally:
            library.report(log)
            give_back_memory()
    raise SourceUnavailable("; ".join(_sentences(reasons))) from last


def _sentences(reasons: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {reason}" for name, reason in reasons.items())


def load_trace(ring_bytes: int, log: Callable[[str], None] | None) -> Object:
    """Load and attach the programs of the call trace.  Raises SourceUnavailable."""
    library, names = _open_kernel()
    try:
        absent = _require(library, names, TRACE)
        return _start(library, TRACE, 0, {"calls": ring_bytes}, absent)[0]
    except _Unsupported as refusal:
        raise SourceUnavailable(f"--trace: {refusal}") from None
    finally:
        library.report(log)


def load_profile(settings: bytes, log: Callable[[str], None] | None, *, children: bool) -> Object:
    """Load and attach the programs of `profile`; `settings` is struct profile_settings.

    Nothing is counted until the iterator has found the process.  Raises SourceUnavailable.
    """
    library, names = _open_kernel()
    variant = PROFILE if children else PROFILE_ALONE
    try:
        absent = _require(library, names, variant)
        programs, _ = _start(library, variant, 0, {}, absent, {".rodata.profile": settings})
        try:
            programs.iterator("find_profiled").run()
        except BpfError as refusal:
            programs.close()
            raise _Unsupported(_explain(refusal)) from None
        return programs
    except _Unsupported as refusal:
        raise SourceUnavailable(f"profile: {refusal}") from None
    finally:
        library.report(log)


def _open_kernel() -> tuple[Library, frozenset[str]]:
    if (why := capabilities.missing()) is not None:
        raise SourceUnavailable(why)
    library, names = Library(), kernel_names()
    if library.lacks_ring_buffer():
        msg = "the kernel has no BPF ring buffer: it needs Linux 5.8; --backend bcc works without"
        raise SourceUnavailable(msg) from BpfError("bpf(BPF_MAP_CREATE)", errno.EINVAL)
    return library, names


class _Unsupported(Exception):
    """An attach variant does not work here; the text has the reason."""


def _require(library: Library, names: frozenset[str], variant: AttachVariant) -> tuple[Hook, ...]:
    """Return the optional hooks that this kernel lacks."""
    if variant.needs and not variant.needs.exists():
        raise _Unsupported(f"this kernel has no {variant.name}s")
    absent = [hook for hook in variant.hooks if hook.target not in names]
    for hook in absent:
        if not hook.optional:
            msg = f"this kernel has no {hook.symbol}"
            raise _Unsupported(msg)
    if variant.trampolines and library.refuses_trampolines(variant.hooks[0].target):
        refusal = BpfError("load a program on entry", errno.EPERM)
        raise _Unsupported("the kernel refuses BPF trampolines") from refusal
    if variant.map_iterator and library.refuses_iterator(variant.map_iterator):
        refusal = BpfError(f"load an iterator over {variant.map_iterator}", errno.EPERM)
        raise _Unsupported("the kernel refuses iterators over maps") from refusal
    return tuple(absent)


def _load(
    library: Library,
    names: frozenset[str],
    variant: AttachVariant,
    stall_ns: int,
    sizes: MapSizes,
    rejected: tuple[str, ...],
) -> LoadedPrograms:
    absent = _require(library, names, variant)
    cpus = library.calls.libbpf_num_possible_cpus()
    bounds = {
        "events": sizes.ring_bytes,
        "processes": sizes.processes,
        "crowded_processes": sizes.processes,
        "endpoints": lru_entries(sizes.endpoints, cpus),
    }
    if variant.sockets_in_hash:
        bounds["sockets"] = sizes.hashed_sockets
    if not variant.tracing:
        bounds["udp_send_in_flight"] = lru_entries(sizes.processes, cpus)
    preallocated = () if variant.tracing or MAP_ALLOCATOR in names else _GROWING
    programs, hooks = _start(library, variant, stall_ns, bounds, absent, preallocated=preallocated)
    try:
        _seed(programs)
        over_map = None if variant.sockets_by_file else "sockets"
        drain = programs.iterator("drain_sockets", over_map=over_map)
        waiters = None
        if WAITERS not in variant.left_out:
            waiters = programs.iterator(WAITERS, over_map=over_map)
    except BpfError as refusal:
        programs.close()
        raise _Unsupported(_explain(refusal)) from None
    queue = Ring(programs.map("events", 0, 0).fd, sizes.ring_bytes, RECORD.size)
    fields = {feature: name in names for feature, name in FIELDS.items()}
    return LoadedPrograms(variant.name, programs, queue, drain, waiters, hooks, rejected, fields)


def _start(
    library: Library,
    variant: AttachVariant,
    stall_ns: int,
    bounds: dict[str, int],
    absent: tuple[Hook, ...],
    sections: Mapping[str, bytes] | None = None,
    preallocated: Collection[str] = (),
) -> tuple[Object, Hooks]:
    """Configure, load, attach.  `sections`: further constants; `preallocated`: maps.

    Raises _Unsupported.
    """
    image = object_for(variant.image)
    if image is None:
        raise _Unsupported(f"there is no {variant.image} for {platform.machine()}")
    programs = None
    try:
        programs = open_object(library, image)
        sees_full_buffer = all(hook.program != FULL_BUFFER for hook in absent)
        programs.set_constants(constants(stall_ns, sees_full_buffer))
        for section, content in (sections or {}).items():
            programs.set_constants(content, section)
        for program in (*variant.left_out, *(hook.program for hook in absent)):
            programs.skip(program)
        for name, entries in bounds.items():
            programs.resize(name, entries)
        for name in preallocated:
            programs.preallocate(name)
        programs.load()
        return programs, _attach(programs, variant, absent)
    except BpfError as refusal:
        if programs:
            programs.close()
        raise _Unsupported(_explain(refusal)) from None


def _attach(programs: Object, variant: AttachVariant, absent: tuple[Hook, ...]) -> Hooks:
    """Attach all hooks.  Raises BpfError for a required one."""
    attached, refused = [], []
    for hook in variant.hooks:
        if hook in absent:
            continue
        try:
            programs.attach(hook.program)
            attached.append(hook.symbol)
        except BpfError:
            if not hook.optional:
                raise
            refused.append(hook.symbol)
    return Hooks(
        *(tuple(dict.fromkeys(p)) for p in (attached, [h.symbol for h in absent], refused))
    )


def constants(stall_ns: int, sees_full_buffer: bool) -> bytes:
    """Return struct settings for this host and this run."""
    tick_ns = round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)
    pid_namespace = namespace_inode("pid")
    stack_bytes = max(_LEAST_STACK_BYTES, os.sysconf("SC_PAGESIZE"))
    return SETTINGS.pack(stall_ns, tick_ns, pid_namespace, sees_full_buffer, stack_bytes)


def _seed(programs: Object) -> None:
    """Iterate all descriptors twice: listeners have to be known before accepted sockets."""
    programs.iterator("seed_listeners").run()
    programs.iterator("seed_sockets").run()


def _explain(refusal: BpfError) -> str:
    """Return the text of a refusal with its remedy."""
    if refusal.errno in (errno.EPERM, errno.EACCES):
        return (
            f"the kernel refuses it in spite of the privileges ({refusal.what}): "
            "a seccomp profile or lockdown"
        )
    if refusal.errno == errno.EINVAL:
        return f"this kernel does not take the program ({refusal.what}); --verbose shows more"
    return str(refusal)
