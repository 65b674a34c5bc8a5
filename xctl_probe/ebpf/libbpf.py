"""Typed binding of the functions of libbpf.so.1 that the probe needs.

Bindings on PyPI either bring their own compiler (bcc, pythonbpf), wrap a bundled libbpf and lack
iterators (pybpf, pylibbpf), or are abandoned.  The functions here belong to the stable C interface
of the library (libbpf.h, bpf.h), unchanged since 1.0.
"""

from __future__ import annotations

import ctypes as c
import errno
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from xctl_probe.errors import SourceUnavailable

_LIBRARY = "libbpf.so.1"
_MESSAGE_BYTES = 1 << 20  # a verifier log is one message
_LEVEL_INFO = 1  # enum libbpf_print_level; higher levels are for debugging libbpf

# include/uapi/linux/bpf.h: of enum bpf_map_type, bpf_prog_type and bpf_attach_type one each,
# and two instructions
_MAP_TYPE_RINGBUF = 27
_PROG_TYPE_TRACING = 26
_TRACE_FENTRY = 24
_TRACE_ITER = 28
_R0_IS_0 = 0xB7
_EXIT = 0x95

_PrintCallback = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)


class BpfError(Exception):
    """A failure of libbpf or the kernel, with `errno`.  Callers with a remedy translate it."""

    def __init__(self, what: str, errno: int) -> None:
        super().__init__(f"{what}: {os.strerror(errno)}")
        self.what = what
        self.errno = errno


class _LoadOptions(c.Structure):
    """The beginning of struct bpf_prog_load_opts."""

    _fields_ = (
        ("size", c.c_size_t),
        ("attempts", c.c_int),
        ("expected_attach_type", c.c_int),
        ("unused", c.c_uint32 * 4),
        ("attach_btf_id", c.c_uint32),
    )


class _LinkOptions(c.Structure):
    """The beginning of struct bpf_link_create_opts."""

    _fields_ = (
        ("size", c.c_size_t),
        ("flags", c.c_uint32),
        ("iter_info", c.c_void_p),
        ("iter_info_len", c.c_uint32),
        ("target_btf_id", c.c_uint32),
        ("arguments", c.c_uint64 * 5),
    )


def refused(what: str) -> BpfError:
    """Return the error of the call that has just failed, from errno."""
    return BpfError(what, c.get_errno())


# What libbpf calls, whether its Library still exists or not: freed, its next message would crash.
_called: list[object] = []


@dataclass(slots=True)
class Library:
    """libbpf.so.1, and the messages that it would print.

    Raises SourceUnavailable where the library is missing.
    """

    messages: list[str] = field(default_factory=list)
    calls: c.CDLL = field(init=False)
    _refused: dict[tuple[str, int], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.calls = c.CDLL(_LIBRARY, use_errno=True)
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

        callback = _PrintCallback(keep)
        self.calls.libbpf_set_print(callback)
        _called[:] = [callback]

    def _declare(self) -> None:
        """Declare the types: pointers have 64 bits, the default result of ctypes has 32."""
        lib = self.calls
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
            ("bpf_map__set_map_flags", number, [pointer, c.c_uint32]),
            ("bpf_program__set_autoload", number, [pointer, c.c_bool]),
            ("bpf_program__fd", number, [pointer]),
            ("bpf_obj_get_info_by_fd", number, [number, pointer, c.POINTER(c.c_uint32)]),
            ("bpf_program__attach", pointer, [pointer]),
            ("bpf_program__attach_cgroup", pointer, [pointer, number]),
            ("bpf_program__attach_iter", pointer, [pointer, pointer]),
            ("bpf_link__fd", number, [pointer]),
            ("bpf_link_create", number, [number, number, number, c.POINTER(_LinkOptions)]),
            ("bpf_link__destroy", number, [pointer]),
            ("bpf_iter_create", number, [number]),
            ("bpf_map_lookup_elem", number, [number, text, pointer]),
            ("bpf_map_update_elem", number, [number, text, text, c.c_uint64]),
            ("bpf_map_delete_elem", number, [number, text]),
            (
                "bpf_map_lookup_batch",
                number,
                [number, pointer, pointer, pointer, pointer, c.POINTER(c.c_uint32), pointer],
            ),
            ("libbpf_num_possible_cpus", number, []),
            ("libbpf_find_vmlinux_btf_id", number, [text, number]),
            ("bpf_map_create", number, [number, text, *[c.c_uint32] * 3, pointer]),
            (
                "bpf_prog_load",
                number,
                [number, text, text, pointer, c.c_size_t, c.POINTER(_LoadOptions)],
            ),
        ):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments

    def report(self, log: Callable[[str], None] | None) -> None:
        """Pass the messages to `log`, or drop them."""
        if log:
            for message in self.messages:
                log(message)
        self.messages.clear()

    def link(self, program_fd: int, target: int, attach_type: int, flags: int) -> int:
        """Attach to a target, such as an ifindex; return the descriptor of the link.

        libbpf passes attach types on that it does not know.  Raises BpfError.
        """
        options = _LinkOptions(size=c.sizeof(_LinkOptions), flags=flags)
        fd: int = self.calls.bpf_link_create(program_fd, target, attach_type, c.byref(options))
        if fd < 0:
            raise refused("attach")
        return fd

    def refuses_trampolines(self, function: str) -> bool:
        """True where the kernel refuses every program at the entry of this function.

        Tested with a program of two instructions in 5 ms; a whole object takes 60 ms.
        """
        return self._refuses_once(function, _TRACE_FENTRY)

    def refuses_iterator(self, target: str) -> bool:
        """True where the kernel refuses every iterator over `target` (`bpf_map_elem`)."""
        return self._refuses_once(target, _TRACE_ITER)

    def _refuses_once(self, target: str, attach_type: int) -> bool:
        """As `_refuses`, asked once: libbpf reads all of the kernel's types for each answer."""
        known = self._refused.get((target, attach_type))
        if known is None:
            known = self._refused[target, attach_type] = self._refuses(target, attach_type)
        return known

    def _refuses(self, target: str, attach_type: int) -> bool:
        btf_id = self.calls.libbpf_find_vmlinux_btf_id(target.encode(), attach_type)
        if btf_id < 0:
            return False
        options = _LoadOptions(
            size=c.sizeof(_LoadOptions),
            expected_attach_type=attach_type,
            attach_btf_id=btf_id,
        )
        program = (c.c_uint64 * 2)(_R0_IS_0, _EXIT)
        fd = self.calls.bpf_prog_load(
            _PROG_TYPE_TRACING, b"xctl_probe", b"GPL", program, len(program), c.byref(options)
        )
        if fd >= 0:
            os.close(fd)
            return False
        return c.get_errno() == errno.EPERM

    def lacks_ring_buffer(self) -> bool:
        """True where the kernel has no ring buffer (before 5.8).  Tested with the smallest one."""
        fd = self.calls.bpf_map_create(_MAP_TYPE_RINGBUF, None, 0, 0, mmap.PAGESIZE, None)
        if fd >= 0:
            os.close(fd)
            return False
        return c.get_errno() == errno.EINVAL
