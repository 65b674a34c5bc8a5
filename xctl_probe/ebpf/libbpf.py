"""A thin typed binding to libbpf.so.1: only what the probe needs of it.

PyPI's bindings either bring their own compiler (bcc, pythonbpf), wrap a bundled libbpf and lack
iterators (pybpf, pylibbpf), or are abandoned; the twenty functions used here are the library's
stable C interface (libbpf.h, bpf.h), the same from 1.0 on.
"""

from __future__ import annotations

import ctypes as c
import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from xctl_probe.errors import SourceUnavailable

_LIBRARY = "libbpf.so.1"
_MESSAGE_BYTES = 1 << 20  # a verifier log comes as one message
_READ_BYTES = 65536
_LEVEL_INFO = 1  # enum libbpf_print_level; what is above is for libbpf's own debugging

# include/uapi/linux/bpf.h: enum bpf_prog_type, enum bpf_attach_type, two instructions
_PROG_TYPE_TRACING = 26
_TRACE_FENTRY = 24
_LINK_TYPE_PERF_EVENT = 7
_KPROBE_EVENTS = (3, 4)  # BPF_PERF_EVENT_KPROBE, BPF_PERF_EVENT_KRETPROBE
_RECURSION_MISSES_AT = 208  # in struct bpf_prog_info
_KPROBE_MISSED_AT = 48  # in struct bpf_link_info: perf_event.kprobe.missed
_INFO_BYTES = 256  # no less than either
_R0_IS_0 = 0xB7
_EXIT = 0x95

_PrintCallback = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)


class KernelRefused(Exception):
    """libbpf or the kernel said no; `errno` says why.  Translated where the remedy is known."""

    def __init__(self, what: str, errno: int) -> None:
        super().__init__(f"{what}: {os.strerror(errno)}")
        self.what = what
        self.errno = errno


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


class _LoadOptions(c.Structure):
    """The beginning of struct bpf_prog_load_opts."""

    _fields_ = (
        ("size", c.c_size_t),
        ("attempts", c.c_int),
        ("expected_attach_type", c.c_int),
        ("unused", c.c_uint32 * 4),
        ("attach_btf_id", c.c_uint32),
    )


def _refused(what: str) -> KernelRefused:
    return KernelRefused(what, c.get_errno())


@dataclass(slots=True)
class Library:
    """libbpf.so.1 itself, and the messages that it would have printed.

    Raises SourceUnavailable where the library is missing.
    """

    messages: list[str] = field(default_factory=list)
    _lib: c.CDLL = field(init=False)
    _print: object = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._lib = c.CDLL(_LIBRARY, use_errno=True)
        except OSError:
            msg = f"{_LIBRARY} is not installed: install libbpf1 (apt) or libbpf (dnf)"
            raise SourceUnavailable(msg) from None
        self._declare()
        format_message = c.CDLL(None).vsnprintf
        format_message.argtypes = [c.c_char_p, c.c_size_t, c.c_char_p, c.c_void_p]
        messages = self.messages

        def keep(level: int, template: bytes, arguments: int) -> int:
            if level > _LEVEL_INFO:
                return 0
            text = c.create_string_buffer(_MESSAGE_BYTES)
            format_message(text, _MESSAGE_BYTES, template, arguments)
            messages.append(text.value.decode(errors="replace").rstrip())
            return 0

        self._print = _PrintCallback(keep)  # kept: libbpf calls it as long as it lives
        self._lib.libbpf_set_print(self._print)

    def _declare(self) -> None:
        """Pointers are 64 bits wide, ctypes' default result is 32."""
        lib = self._lib
        pointer, text, number = c.c_void_p, c.c_char_p, c.c_int
        for name, result, arguments in (
            ("bpf_object__open_mem", pointer, [c.c_char_p, c.c_size_t, pointer]),
            ("bpf_object__load", number, [pointer]),
            ("bpf_object__close", None, [pointer]),
            ("bpf_object__next_map", pointer, [pointer, pointer]),
            ("bpf_object__find_map_by_name", pointer, [pointer, text]),
            ("bpf_object__find_program_by_name", pointer, [pointer, text]),
            ("bpf_map__name", text, [pointer]),
            ("bpf_map__fd", number, [pointer]),
            ("bpf_map__initial_value", pointer, [pointer, c.POINTER(c.c_size_t)]),
            ("bpf_map__set_max_entries", number, [pointer, c.c_uint32]),
            ("bpf_program__set_autoload", number, [pointer, c.c_bool]),
            ("bpf_program__fd", number, [pointer]),
            ("bpf_obj_get_info_by_fd", number, [number, pointer, c.POINTER(c.c_uint32)]),
            ("bpf_program__attach", pointer, [pointer]),
            ("bpf_program__attach_iter", pointer, [pointer, pointer]),
            ("bpf_link__fd", number, [pointer]),
            ("bpf_link__destroy", number, [pointer]),
            ("bpf_iter_create", number, [number]),
            ("bpf_map_lookup_elem", number, [number, text, pointer]),
            ("bpf_map_delete_elem", number, [number, text]),
            (
                "bpf_map_lookup_batch",
                number,
                [number, pointer, pointer, pointer, pointer, c.POINTER(c.c_uint32), pointer],
            ),
            ("libbpf_num_possible_cpus", number, []),
            ("libbpf_find_vmlinux_btf_id", number, [text, number]),
            (
                "bpf_prog_load",
                number,
                [number, text, text, pointer, c.c_size_t, c.POINTER(_LoadOptions)],
            ),
        ):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments

    def report(self, log: Callable[[str], None] | None) -> None:
        """Hand the messages over, or drop them."""
        if log:
            for message in self.messages:
                log(message)
        self.messages.clear()

    def refuses_trampolines(self, function: str) -> bool:
        """Does the kernel refuse any program on entry to this function, whatever it does?

        Asked with a program of two instructions, in 5 ms; a whole object takes 60.
        """
        btf_id = self._lib.libbpf_find_vmlinux_btf_id(function.encode(), _TRACE_FENTRY)
        if btf_id < 0:
            return False
        options = _LoadOptions(
            size=c.sizeof(_LoadOptions),
            expected_attach_type=_TRACE_FENTRY,
            attach_btf_id=btf_id,
        )
        program = (c.c_uint64 * 2)(_R0_IS_0, _EXIT)
        fd = self._lib.bpf_prog_load(
            _PROG_TYPE_TRACING, b"xctl_probe", b"GPL", program, len(program), c.byref(options)
        )
        if fd >= 0:
            os.close(fd)
            return False
        return c.get_errno() == errno.EPERM

    def open(self, image: bytes) -> Object:
        """A compiled object, not yet loaded.  Raises KernelRefused."""
        handle = self._lib.bpf_object__open_mem(image, len(image), None)
        if not handle:
            raise _refused("open object")
        return Object(self._lib, handle)


def _pieces(raw: bytes, size: int, count: int) -> list[bytes]:
    return [raw[i * size : (i + 1) * size] for i in range(count)]


@dataclass(slots=True)
class Map:
    """A map of a loaded object, read with raw bytes for key and value."""

    fd: int
    key_bytes: int
    value_bytes: int
    _lib: c.CDLL

    def lookup(self, key: bytes, copies: int = 1) -> bytes | None:
        """The value, or None; of a per-CPU map `copies` values on end, one for each CPU."""
        value = c.create_string_buffer(self.value_bytes * copies)
        if self._lib.bpf_map_lookup_elem(self.fd, key, value):
            return None
        return value.raw

    def delete(self, key: bytes) -> None:
        """Forget the key, if it is there."""
        self._lib.bpf_map_delete_elem(self.fd, key)

    def items(self, batch: int = 1024) -> Iterator[tuple[bytes, bytes]]:
        """Everything in a hash, in batches (kernel 5.6).  Raises KernelRefused."""
        keys = c.create_string_buffer(self.key_bytes * batch)
        values = c.create_string_buffer(self.value_bytes * batch)
        cursor = c.create_string_buffer(max(self.key_bytes, 8))
        start: c.Array[c.c_char] | None = None
        count = c.c_uint32()
        while True:
            count.value = batch
            failed = self._lib.bpf_map_lookup_batch(
                self.fd, start, cursor, keys, values, c.byref(count), None
            )
            why = c.get_errno() if failed else 0
            if failed and why != errno.ENOENT:  # that is how it tells the end
                raise KernelRefused("read map", why)
            yield from zip(
                _pieces(keys.raw, self.key_bytes, count.value),
                _pieces(values.raw, self.value_bytes, count.value),
                strict=True,
            )
            if failed:
                return
            start = cursor


@dataclass(frozen=True, slots=True)
class _Attached:
    program_fd: int
    link: int


def _u64_at(info: bytes, at: int) -> int:
    return int.from_bytes(info[at : at + 8], "little")


@dataclass(slots=True)
class Object:
    """A BPF object: configured, loaded, attached, closed.  Closing detaches everything."""

    _lib: c.CDLL
    _handle: int | None
    _links: list[int] = field(default_factory=list)
    _attached: list[_Attached] = field(default_factory=list)

    def _map(self, name: str) -> int:
        handle: int | None = self._lib.bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise KernelRefused(f"no map {name}", errno.ENOENT)
        return handle

    def _program(self, name: str) -> int:
        handle: int | None = self._lib.bpf_object__find_program_by_name(self._handle, name.encode())
        if not handle:
            raise KernelRefused(f"no program {name}", errno.ENOENT)
        return handle

    def set_constants(self, image: bytes) -> None:
        """Write the beginning of .rodata, before the load makes it constant."""
        handle = self._lib.bpf_object__next_map(self._handle, None)
        while handle and not self._lib.bpf_map__name(handle).endswith(b".rodata"):
            handle = self._lib.bpf_object__next_map(self._handle, handle)
        size = c.c_size_t()
        address = self._lib.bpf_map__initial_value(handle, c.byref(size)) if handle else None
        if not address or size.value < len(image):
            raise KernelRefused("no constants in the object", errno.ENOENT)
        c.memmove(address, image, len(image))

    def resize(self, name: str, entries: int) -> None:
        """Set max_entries (a ring buffer: bytes) before the load."""
        if self._lib.bpf_map__set_max_entries(self._map(name), entries):
            raise _refused(f"resize {name}")

    def skip(self, program: str) -> None:
        """Do not load a program that this kernel has no place for."""
        self._lib.bpf_program__set_autoload(self._program(program), False)

    def load(self) -> None:
        """Verify and load.  Raises KernelRefused."""
        if self._lib.bpf_object__load(self._handle):
            raise _refused("load")

    def attach(self, program: str) -> None:
        """Attach until closed: the link is a descriptor, and dies with the process."""
        handle = self._program(program)
        link = self._lib.bpf_program__attach(handle)
        if not link:
            raise _refused(f"attach {program}")
        self._links.append(link)
        self._attached.append(_Attached(self._lib.bpf_program__fd(handle), link))

    def missed_runs(self) -> int:
        """How often a program was due and did not run, as far as this kernel counts it.

        The kernel does not let a program interrupt itself (recursion_misses, 5.12), and has
        a limit of threads that sleep under one kretprobe (the link's `missed`, 6.7).
        """
        return sum(self._missed(one) for one in self._attached)

    def _missed(self, one: _Attached) -> int:
        misses = _u64_at(self._info(one.program_fd), _RECURSION_MISSES_AT)
        link = self._info(self._lib.bpf_link__fd(one.link))
        link_type, event_type = (int.from_bytes(link[at : at + 4], "little") for at in (0, 16))
        if link_type == _LINK_TYPE_PERF_EVENT and event_type in _KPROBE_EVENTS:
            misses += _u64_at(link, _KPROBE_MISSED_AT)
        return misses

    def _info(self, fd: int) -> bytes:
        """The struct bpf_prog_info or bpf_link_info; zero where the kernel's is shorter."""
        info = c.create_string_buffer(_INFO_BYTES)
        length = c.c_uint32(_INFO_BYTES)
        self._lib.bpf_obj_get_info_by_fd(fd, info, c.byref(length))
        return info.raw

    def iterator(self, program: str, over_map: str | None = None) -> KernelIterator:
        """Attach an iterator program.  Raises KernelRefused."""
        options = None
        if over_map is not None:
            info = _MapInfo(map_fd=self._lib.bpf_map__fd(self._map(over_map)))
            options = c.byref(_IterOptions(c.sizeof(_IterOptions), c.pointer(info), c.sizeof(info)))
        link = self._lib.bpf_program__attach_iter(self._program(program), options)
        if not link:
            raise _refused(f"attach {program}")
        self._links.append(link)
        return KernelIterator(self._lib.bpf_link__fd(link), self._lib)

    def map(self, name: str, key_bytes: int, value_bytes: int) -> Map:
        """A loaded map, with the sizes its header declares."""
        fd = self._lib.bpf_map__fd(self._map(name))
        return Map(fd, key_bytes, value_bytes, self._lib)

    def per_cpu_sums(self, name: str, entries: int) -> list[int]:
        """A per-CPU array of 64-bit counters, added up over the CPUs."""
        cpus = self._lib.libbpf_num_possible_cpus()
        array = self.map(name, 4, 8)
        layout = struct.Struct(f"={cpus}Q")
        values = (array.lookup(struct.pack("=I", i), cpus) for i in range(entries))
        return [sum(layout.unpack(value)) if value else 0 for value in values]

    def close(self) -> None:
        """Detach and unload.  Safe to call twice."""
        self._attached.clear()
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
    """An attached iterator: each run walks everything once."""

    link_fd: int
    _lib: c.CDLL

    def run(self) -> bytes:
        """What the program wrote.  Raises KernelRefused."""
        fd = self._lib.bpf_iter_create(self.link_fd)
        if fd < 0:
            raise _refused("start iterator")
        chunks = []
        try:
            while chunk := os.read(fd, _READ_BYTES):
                chunks.append(chunk)
        finally:
            os.close(fd)
        return b"".join(chunks)
