"""The bcc program: compiled for this kernel, loaded and attached."""

from __future__ import annotations

import atexit
import contextlib
import os
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from types import ModuleType
from typing import Any

from xctl_probe.bcc import existing_sockets
from xctl_probe.bcc.kernel import symbols
from xctl_probe.bcc.kernel_headers import Declared
from xctl_probe.bcc.maps import (
    ARRAY,
    HASH,
    LRU_HASH,
    PERCPU_ARRAY,
    QUEUE,
    RINGBUF,
    BccMap,
    Library,
    Queue,
    make,
    possible_cpus,
)
from xctl_probe.bcc.socket_iterator import FUNCTION, LIBRARY, UprobeIterator, trigger
from xctl_probe.ebpf.abi import (
    ENDPOINT,
    ENDPOINT_KEY,
    PROCESS_KEY,
    PROCESS_TRAFFIC,
    RECORD,
    SETTINGS,
    LostWhere,
)
from xctl_probe.ebpf.attach_variants import FULL_BUFFER, KPROBE, MAP_ALLOCATOR, Hook
from xctl_probe.ebpf.counters import per_cpu_sums, recursion_misses
from xctl_probe.ebpf.loader import MapSizes, constants, lru_entries
from xctl_probe.ebpf.programs import EventQueue, Handles, Hooks, LoadedPrograms
from xctl_probe.ebpf.ringbuf import Ring
from xctl_probe.errors import SourceUnavailable
from xctl_probe.linux.heap import give_back_memory
from xctl_probe.metrics import DEFAULT, Metric

_MEMORY_BYTES = 344  # struct sock_state in bpf/include/maps.bpf.h; the compiler compares
_DRAFTS_BYTES = 4 * RECORD.size + 8  # struct event_scratch_percpu in bpf/include/bcc_compat.h
_ITER_BYTES = 1 << 18
_QUEUED = 4096  # records

Log = Callable[[str], None]


def _probes() -> Iterator[Hook]:
    """Yield the hooks of kprobe with the programs of bcc, and the one for existing sockets."""
    hooks = [replace(hook, program=hook.bcc_program or hook.program) for hook in KPROBE.hooks]
    yield from (hook for hook in hooks if not hook.is_tracepoint)
    yield Hook("on_fdinfo", existing_sockets.FUNCTION, optional=True)
    yield from (hook for hook in hooks if hook.is_tracepoint)


_PROBES = tuple(_probes())


@dataclass(slots=True)
class Compiled:
    """Maps and programs of one run (`ebpf.programs.Programs`); `close` detaches everything."""

    _lib: Library
    _bpf: Any  # bcc.BPF, which has no types
    tables: dict[str, BccMap]
    _written: EventQueue  # output of the iterations
    _fds: dict[str, int] = field(default_factory=dict)  # of the programs
    _closed: bool = False

    def map(self, name: str, key_bytes: int, value_bytes: int) -> BccMap:
        """Return a map; its sizes are known already."""
        table = self.tables[name]
        assert (table.key_bytes, table.value_bytes) == (key_bytes, value_bytes)
        return table

    def per_cpu_sums(self, name: str, entries: int) -> list[int]:
        """A per-CPU array of 64-bit counters, added up over the CPUs."""
        return per_cpu_sums(self.tables[name], entries, possible_cpus())

    def missed_runs(self) -> int:
        """Return how often a program did not run.  Without links, bcc cannot count more."""
        return sum(recursion_misses(self._lib.info, fd) for fd in self._fds.values())

    def attach(self, hook: Hook) -> None:
        """Load the program, once, and attach it.  Raises Exception, as bcc does."""
        kind = self._bpf.RAW_TRACEPOINT if hook.is_tracepoint else self._bpf.KPROBE
        fd = self._bpf.load_func(hook.program.encode(), kind).fd
        self._fds[hook.program] = fd
        names = {"fn_name": hook.program.encode()}
        if hook.is_tracepoint:
            self._bpf.attach_raw_tracepoint(tp=hook.symbol.encode(), **names)
        elif hook.at_return:
            self._bpf.attach_kretprobe(event=hook.symbol.encode(), **names)
        else:
            self._bpf.attach_kprobe(event=hook.symbol.encode(), **names)

    def attach_iterator(self) -> None:
        """Attach the uprobe that iterates one socket.  Raises Exception, as bcc does."""
        self._bpf.attach_uprobe(name=LIBRARY, sym=FUNCTION, fn_name=b"on_iterate", pid=os.getpid())

    def forget_compiler(self) -> None:
        """Free the memory of the compiler once all is loaded: 90 of 120 MB."""
        self._lib.destroy(self._bpf.module)
        self._bpf.module = None
        give_back_memory()

    def handles(self) -> Handles:
        """Return what figures about the programs and the maps are read from; bcc has no links."""
        maps = {name: table.fd for name, table in self.tables.items()}
        return Handles(dict(self._fds), {}, maps, self._lib.info, self._lib.lookup_batch)

    def close(self) -> None:
        """Detach and unload.  Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._detach()
        self._bpf.cleanup()  # the programs
        atexit.unregister(self._bpf.cleanup)
        self._written.close()
        _close(self.tables)

    def _detach(self) -> None:
        """Close what is attached: bcc's own method stops at the first event that tracefs lacks."""
        kprobes = [fd for fds in self._bpf.kprobe_fds.values() for fd in fds.values()]
        for fd in [
            *kprobes,
            *self._bpf.uprobe_fds.values(),
            *self._bpf.raw_tracepoint_fds.values(),
        ]:
            os.close(fd)
        for attached in ("kprobe_fds", "uprobe_fds", "raw_tracepoint_fds"):
            getattr(self._bpf, attached).clear()


def start(
    bcc: ModuleType,
    declared: Declared,
    stall_ns: int,
    sizes: MapSizes,
    log: Log | None,
    metrics: frozenset[Metric] = DEFAULT,
) -> LoadedPrograms:
    """Compile, load, attach what serves one of `metrics`, and set the owners of open sockets.

    Raises SourceUnavailable.
    """
    needed = [p.target for p in _PROBES if not p.is_tracepoint]
    present = symbols([*needed, "jiffies_64", MAP_ALLOCATOR])
    missing = _missing(present)
    lib = Library(bcc.lib)
    try:
        tables, queue, written = _maps(lib, sizes, grow=MAP_ALLOCATOR in present)
    except OSError as error:
        raise SourceUnavailable(f"the kernel refuses the probe's maps ({error})") from None
    flags = [
        *declared.flags(),
        *_constants(stall_ns, FULL_BUFFER not in missing),
        *(f"-D{name}_FD={table.fd}" for name, table in tables.items()),
    ]
    if isinstance(queue, Queue):
        flags.append("-DRECORDS_IN_QUEUE")
        # Both came within three releases; without a ring buffer, the kernel may lack either.
        flags.append(f"-DJIFFIES_ADDRESS={present.get('jiffies_64', 0)}UL")
    try:
        with _messages_to(log):
            compiled = Compiled(lib, _compile(bcc, flags), tables, written)
    except SourceUnavailable:
        _close(tables)
        raise
    try:
        with _messages_to(log):
            hooks = _attach(compiled, present, metrics)
            compiled.attach_iterator()
        if existing_sockets.FUNCTION in hooks.attached:
            existing_sockets.seed(tables["current_owner"])
    except Exception as error:  # bcc raises nothing narrower
        compiled.close()
        msg = f"the kernel refuses the program ({error}): a seccomp profile or lockdown, or this "
        raise SourceUnavailable(msg + "kernel is too old; --verbose shows more") from None
    call = trigger()
    drain = UprobeIterator(tables["sockets"], written, call, drain=True)
    waiters = None
    if Metric.STALLS in metrics:
        waiters = UprobeIterator(tables["sockets"], written, call, drain=False)
    compiled.forget_compiler()
    return LoadedPrograms("", compiled, queue, drain, waiters, hooks)


def _attach(compiled: Compiled, present: dict[str, int], metrics: frozenset[Metric]) -> Hooks:
    """Attach the programs for these metrics whose hook exists.

    Raises Exception for a required one, as bcc does.
    """
    attached, absent, refused = [], [], []
    for hook in (probe for probe in _PROBES if probe.serves & metrics):
        if not hook.is_tracepoint and hook.target not in present:
            absent.append(hook.symbol)
            continue
        try:
            compiled.attach(hook)
            attached.append(hook.symbol)
        except Exception:  # bcc raises nothing narrower
            if not hook.optional:
                raise
            refused.append(hook.symbol)
    return Hooks(*(tuple(dict.fromkeys(places)) for places in (attached, absent, refused)))


def _missing(present: dict[str, int]) -> tuple[str, ...]:
    """Return the optional programs whose function this kernel lacks.

    Raises SourceUnavailable for a required one.
    """
    placed, absent = set[str](), dict[str, None]()
    for hook in _PROBES:
        if hook.is_tracepoint or hook.target in present:
            placed.add(hook.program)
        elif hook.optional:
            absent[hook.program] = None
        else:
            raise SourceUnavailable(f"this kernel has no {hook.symbol} that could be probed")
    return tuple(name for name in absent if name not in placed)


def _constants(stall_ns: int, sees_full_buffer: bool) -> list[str]:
    values = SETTINGS.unpack(constants(stall_ns, sees_full_buffer))
    names = ("STALL_NS", "TICK_NS", "PID_NAMESPACE", "SEES_FULL_BUFFER", "KERNEL_STACK_BYTES")
    return [
        *(f"-D{name}={value}ULL" for name, value in zip(names, values, strict=True)),
        f"-DPROBE_PID={os.getpid()}",
        f"-DMEMORY_BYTES={_MEMORY_BYTES}",
    ]


def _maps(
    lib: Library, sizes: MapSizes, *, grow: bool
) -> tuple[dict[str, BccMap], EventQueue, EventQueue]:
    """Create all maps; return them with the two event queues.  Raises OSError."""
    tables: dict[str, BccMap] = {}
    cpus = possible_cpus()

    def add(name: str, kind: int, key: int, value: int, entries: int) -> BccMap:
        tables[name] = made = make(lib, kind, name, key, value, entries, grows=grow)
        return made

    try:
        add("lost", PERCPU_ARRAY, 4, 8, len(LostWhere))
        add("sockets", HASH, 8, _MEMORY_BYTES, sizes.hashed_sockets)
        for name in ("processes", "crowded_processes"):
            add(name, HASH, PROCESS_KEY.size, PROCESS_TRAFFIC.size, sizes.processes)
        entries = lru_entries(sizes.endpoints, cpus)
        add("endpoints", LRU_HASH, ENDPOINT_KEY.size, ENDPOINT.size, entries)
        add("listen_ports", HASH, 8, 1, sizes.processes)
        add("reconcile_guard", HASH, 8, 1, 1024)
        add("asked_processes", HASH, 4, 1, 1024)
        add("udp_send_in_flight", LRU_HASH, 8, 8, lru_entries(sizes.processes, cpus))
        add("zero_values", ARRAY, 4, _MEMORY_BYTES, 1)
        add("monotonic_offset", ARRAY, 4, 8, 1)
        add("event_scratch", ARRAY, 4, RECORD.size, 1)
        add("current_owner", ARRAY, 4, existing_sockets.SEEDING.size, 1)
        try:
            events = add("events", RINGBUF, 0, 0, sizes.ring_bytes)
            queue: EventQueue = Ring(events.fd, sizes.ring_bytes, RECORD.size)
            output = add("iter_output", RINGBUF, 0, 0, _ITER_BYTES)
            written: EventQueue = Ring(output.fd, _ITER_BYTES, RECORD.size)
        except OSError:  # before 5.8
            queue = Queue(add("events", QUEUE, 0, RECORD.size, _QUEUED), _QUEUED)
            written = Queue(add("iter_output", QUEUE, 0, RECORD.size, _QUEUED), _QUEUED)
            add("event_scratch_percpu", PERCPU_ARRAY, 4, _DRAFTS_BYTES, 1)
    except OSError:
        _close(tables)
        raise
    return tables, queue, written


def _close(tables: dict[str, BccMap]) -> None:
    for table in tables.values():
        os.close(table.fd)
    tables.clear()


def _compile(bcc: ModuleType, flags: list[str]) -> Any:
    """Return a bcc.BPF.  Raises SourceUnavailable."""
    source = pkgutil.get_data("xctl_probe.bpf", "bcc.c")
    if source is None:
        raise SourceUnavailable("bpf/bcc.c is not installed: install the probe again")
    with as_file(files("xctl_probe.bpf")) as folder:
        # -fms-extensions: headers of 7.x have unnamed members of a named type.
        options = [f"-I{folder}", f"-I{folder}/include", "-w", "-fms-extensions", *flags]
        try:
            return bcc.BPF(text=source, cflags=options)
        except Exception as error:  # bcc raises nothing narrower
            msg = (
                f"bcc cannot compile the program ({error}): this bcc may be too old for the "
                "kernel's headers; --verbose shows more"
            )
            raise SourceUnavailable(msg) from None


@contextlib.contextmanager
def _messages_to(log: Log | None) -> Iterator[None]:
    """Redirect what libbcc and its compiler print on descriptor 2 to the log, or drop it."""
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                if log:
                    file.seek(0)
                    for line in file.read().decode(errors="replace").splitlines():
                        log(line)
    finally:
        os.close(kept)
