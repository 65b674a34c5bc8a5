"""BPF objects through libbpf: open, configure, load, attach, read, close."""

from __future__ import annotations

import ctypes as c
import errno
import io
import os
import pkgutil
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from xctl_probe.ebpf.counters import kprobe_misses, per_cpu_sums, recursion_misses
from xctl_probe.ebpf.libbpf import BpfError, Library, refused
from xctl_probe.ebpf.maps import Map
from xctl_probe.ebpf.programs import Handles

_READ_BYTES = 65536


class _MapInfo(c.Structure):
    """The arm of union bpf_iter_link_info that names a map (include/uapi/linux/bpf.h)."""

    _fields_ = (("map_fd", c.c_uint32), ("padding", c.c_uint32 * 7))


class _IterOptions(c.Structure):
    """struct bpf_iter_attach_opts."""

    _fields_ = (
        ("size", c.c_size_t),
        ("link_info", c.POINTER(_MapInfo)),
        ("link_info_len", c.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class _Attached:
    name: str
    program_fd: int
    link: int


def object_for(name: str, machine: str = platform.machine()) -> bytes | None:
    """Return a compiled object by its name; None where there is none for this machine."""
    try:
        return pkgutil.get_data("xctl_probe.bpf", f"objects/{machine}/{name}")
    except FileNotFoundError:
        return None


def open_object(library: Library, image: bytes) -> Object:
    """Open a compiled object, without loading it.  Raises BpfError."""
    handle = library.calls.bpf_object__open_mem(image, len(image), None)
    if not handle:
        raise refused("open object")
    return Object(library.calls, handle)


@dataclass(slots=True)
class Object:
    """An open BPF object.  `close` detaches everything."""

    _lib: c.CDLL
    _handle: int | None
    _links: list[int] = field(default_factory=list)
    _attached: list[_Attached] = field(default_factory=list)
    _iterators: dict[str, int] = field(default_factory=dict)  # programs by name

    def _map(self, name: str) -> int:
        handle: int | None = self._lib.bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise BpfError(f"no map {name}", errno.ENOENT)
        return handle

    def _program(self, name: str) -> int:
        handle: int | None = self._lib.bpf_object__find_program_by_name(self._handle, name.encode())
        if not handle:
            raise BpfError(f"no program {name}", errno.ENOENT)
        return handle

    def set_constants(self, image: bytes, section: str = ".rodata") -> None:
        """Write the beginning of a section of constants, before the load."""
        handle = self._lib.bpf_object__next_map(self._handle, None)
        while handle and not self._lib.bpf_map__name(handle).endswith(section.encode()):
            handle = self._lib.bpf_object__next_map(self._handle, handle)
        size = c.c_size_t()
        address = self._lib.bpf_map__initial_value(handle, c.byref(size)) if handle else None
        if not address or size.value < len(image):
            raise BpfError("no constants in the object", errno.ENOENT)
        c.memmove(address, image, len(image))

    def resize(self, name: str, entries: int) -> None:
        """Set max_entries (a ring buffer: bytes) before the load."""
        if self._lib.bpf_map__set_max_entries(self._map(name), entries):
            raise refused(f"resize {name}")

    def preallocate(self, name: str) -> None:
        """Let a hash have its memory from the load on."""
        if self._lib.bpf_map__set_map_flags(self._map(name), 0):
            raise refused(f"preallocate {name}")

    def skip(self, program: str) -> None:
        """Exclude a program from the load: this kernel lacks its hook."""
        self._lib.bpf_program__set_autoload(self._program(program), False)

    def load(self) -> None:
        """Verify and load.  Raises BpfError."""
        if self._lib.bpf_object__load(self._handle):
            raise refused("load")

    def attach(self, program: str) -> None:
        """Attach until `close`.  The link is a descriptor, closed with the process."""
        self._keep(program, self._lib.bpf_program__attach)

    def attach_cgroup(self, program: str, cgroup_fd: int) -> None:
        """Attach to a control group and all below it, beside other programs; as `attach`."""
        self._keep(program, self._lib.bpf_program__attach_cgroup, cgroup_fd)

    def _keep(self, program: str, attach: Callable[..., int | None], *place: int) -> None:
        handle = self._program(program)
        link = attach(handle, *place)
        if not link:
            raise refused(f"attach {program}")
        self._links.append(link)
        self._attached.append(_Attached(program, self._lib.bpf_program__fd(handle), link))

    def program_fd(self, program: str) -> int:
        """Return the descriptor of a loaded program."""
        fd: int = self._lib.bpf_program__fd(self._program(program))
        return fd

    def missed_runs(self) -> int:
        """Return how often a program did not run at its hook, as far as this kernel counts it.

        A program cannot interrupt itself (recursion_misses, 5.12), and the number of threads that
        sleep under one kretprobe is limited (`missed` of the link, 6.7).
        """
        get_info = self._lib.bpf_obj_get_info_by_fd
        return sum(
            recursion_misses(get_info, one.program_fd)
            + kprobe_misses(get_info, self._lib.bpf_link__fd(one.link))
            for one in self._attached
        )

    def iterator(self, program: str, over_map: str | None = None) -> KernelIterator:
        """Attach an iterator program.  Raises BpfError."""
        options = None
        if over_map is not None:
            info = _MapInfo(map_fd=self._lib.bpf_map__fd(self._map(over_map)))
            options = c.byref(_IterOptions(c.sizeof(_IterOptions), c.pointer(info), c.sizeof(info)))
        handle = self._program(program)
        link = self._lib.bpf_program__attach_iter(handle, options)
        if not link:
            raise refused(f"attach {program}")
        self._links.append(link)
        self._iterators[program] = self._lib.bpf_program__fd(handle)
        return KernelIterator(self._lib.bpf_link__fd(link), self._lib)

    def map(self, name: str, key_bytes: int, value_bytes: int) -> Map:
        """Return a loaded map, with the sizes of its declaration."""
        fd = self._lib.bpf_map__fd(self._map(name))
        return Map(fd, key_bytes, value_bytes, self._lib)

    def per_cpu_sums(self, name: str, entries: int) -> list[int]:
        """Return a per-CPU array of 64-bit counters, added up over the CPUs."""
        array = self.map(name, 4, 8)
        return per_cpu_sums(array, entries, self._lib.libbpf_num_possible_cpus())

    def handles(self) -> Handles:
        """Return what figures about the attached programs and the maps are read from."""
        programs = {one.name: one.program_fd for one in self._attached}
        return Handles(
            programs=programs | self._iterators,
            links={one.name: self._lib.bpf_link__fd(one.link) for one in self._attached},
            maps=dict(self._maps()),
            get_info=self._lib.bpf_obj_get_info_by_fd,
            lookup_batch=lambda *arguments: self._lib.bpf_map_lookup_batch(*arguments, None),
        )

    def _maps(self) -> Iterator[tuple[str, int]]:
        """Yield the maps of bpf/, without those that the compiler makes of sections."""
        handle = self._lib.bpf_object__next_map(self._handle, None)
        while handle:
            name = self._lib.bpf_map__name(handle).decode()
            if "." not in name:
                yield name, self._lib.bpf_map__fd(handle)
            handle = self._lib.bpf_object__next_map(self._handle, handle)

    def close(self) -> None:
        """Detach and unload.  Safe to call twice."""
        self._attached.clear()
        self._iterators.clear()
        while self._links:
            self._lib.bpf_link__destroy(self._links.pop())
        if self._handle is not None:
            self._lib.bpf_object__close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class KernelIterator:
    """An attached iterator; each run iterates everything once."""

    link_fd: int
    _lib: c.CDLL

    def run(self) -> bytes:
        """Run the iterator; return what the program wrote.  Raises BpfError.

        The kernel interrupts a read after a million objects without output (EAGAIN,
        kernel/bpf/bpf_iter.c); the next read continues there.
        """
        fd = self._lib.bpf_iter_create(self.link_fd)
        if fd < 0:
            raise refused("start iterator")
        written = io.BytesIO()  # not a list: a join would hold tens of thousands of events twice
        try:
            for chunk in _chunks(lambda: os.read(fd, _READ_BYTES)):
                written.write(chunk)
        finally:
            os.close(fd)
        return written.getvalue()


def _chunks(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the output of an iterator.

    One read iterates a million objects at most (MAX_ITER_OBJECTS, kernel/bpf/bpf_iter.c).  Where
    the program has written nothing about them, it fails with EAGAIN, and the next read continues.
    """
    while True:
        try:
            chunk = read()
        except BlockingIOError:
            continue
        if not chunk:
            return
        yield chunk
