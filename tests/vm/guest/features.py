"""What this kernel can do, found by trying: each probe answers yes, no, or unknown.

Independent of the project's own programs on purpose: where these answer yes and a variant does
not attach, the variant is at fault.  Constants are those of linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

YES, NO, UNKNOWN = "yes", "no", "unknown"

_SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_MAP_CREATE, _PROG_LOAD, _PROG_GET_NEXT_ID, _RAW_TRACEPOINT_OPEN = 0, 5, 11, 17
_MAP_TYPE_RINGBUF = 27
_PROG_TYPE_KPROBE, _PROG_TYPE_TRACING = 2, 26
_TRACE_RAW_TP, _TRACE_FENTRY, _TRACE_FEXIT, _TRACE_ITER = 23, 24, 25, 28
_RETURN_ZERO = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
_TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    """bpf(2); returns the descriptor, raises OSError."""
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    got = _libc.syscall(_SYS_BPF, command, buffer, len(buffer))
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(got)


def _load(program_type: int, attach_type: int = 0, btf_id: int = 0) -> int:
    """Load a program that returns 0 (union bpf_attr, the BPF_PROG_LOAD part)."""
    code = ctypes.create_string_buffer(_RETURN_ZERO, len(_RETURN_ZERO))
    text = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("<IIQQ", program_type, 2, ctypes.addressof(code), ctypes.addressof(text))
    logs = struct.pack("<IIQ", 0, 0, 0)
    kind = struct.pack("<II16sII", 0, 0, b"feature", 0, attach_type)
    types = struct.pack("<IIQIIQII", 0, 0, 0, 0, 0, 0, 0, btf_id)
    return _bpf(_PROG_LOAD, head + logs + kind + types)


def _trace(function: str, attach_type: int) -> bool:
    """Attach an empty BTF-typed program; False where the kernel has no such function."""
    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_set_print(None)
    btf_id = library.libbpf_find_vmlinux_btf_id(function.encode(), attach_type)
    if btf_id < 0:
        return False
    program = _load(_PROG_TYPE_TRACING, attach_type, btf_id)
    try:
        os.close(_bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", 0, program)))
    finally:
        os.close(program)
    return True


def program_ids() -> set[int]:
    """The ids of all BPF programs in the kernel."""
    found = set[int]()
    last = 0
    while True:
        buffer = ctypes.create_string_buffer(struct.pack("<I", last), 128)
        if _libc.syscall(_SYS_BPF, _PROG_GET_NEXT_ID, buffer, len(buffer)) < 0:
            return found
        (last,) = struct.unpack_from("<I", buffer, 4)
        found.add(last)


def btf() -> bool:
    return Path("/sys/kernel/btf/vmlinux").exists()


def ringbuf() -> bool:
    os.close(_bpf(_MAP_CREATE, struct.pack("<IIII", _MAP_TYPE_RINGBUF, 0, 0, 4096)))
    return True


def kprobe() -> bool:
    """A perf probe type exists, and a probe on the function that matters can be made."""
    if not Path("/sys/bus/event_source/devices/kprobe/type").exists():
        return False
    events = next(root / "kprobe_events" for root in _TRACEFS if (root / "kprobe_events").exists())
    # Not open("a"), which seeks to the end: tracefs refuses that with EINVAL.
    descriptor = os.open(events, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, b"p:feature tcp_sendmsg\n")
        os.write(descriptor, b"-:feature\n")
    finally:
        os.close(descriptor)
    return True


def fentry() -> bool:
    return _trace("tcp_sendmsg", _TRACE_FENTRY)


def fexit() -> bool:
    return _trace("tcp_sendmsg", _TRACE_FEXIT)


def tp_btf() -> bool:
    return _trace("inet_sock_set_state", _TRACE_RAW_TP)


def sock_send_length() -> bool:
    return any((root / "events/sock/sock_send_length").exists() for root in _TRACEFS)


def task_file_iterator() -> bool:
    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_set_print(None)
    return bool(library.libbpf_find_vmlinux_btf_id(b"task_file", _TRACE_ITER) > 0)


def _works(command: str) -> bool:
    return subprocess.run(command.split(), capture_output=True, check=False).returncode == 0


def veth() -> bool:
    made = _works("ip link add feature0 type veth peer name feature1")
    return made and _works("ip link del feature0")


def netem() -> bool:
    made = _works("tc qdisc add dev lo root netem loss 1%")
    return made and _works("tc qdisc del dev lo root")


def network_namespace() -> bool:
    return _works("unshare --net true")


def tls() -> bool:
    return _works("modprobe tls")


def nf_tables() -> bool:
    return _works("modprobe nf_tables")


PROBES: tuple[Callable[[], bool], ...] = (
    btf,
    ringbuf,
    kprobe,
    fentry,
    fexit,
    tp_btf,
    sock_send_length,
    task_file_iterator,
    veth,
    netem,
    network_namespace,
    tls,
    nf_tables,
)
# The kernel's ways to report that it does not have something; anything else is not an answer.
_ABSENT = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT, 524}  # 524: ENOTSUPP


def _ask(probe: Callable[[], bool]) -> str:
    try:
        return YES if probe() else NO
    except OSError as error:
        return NO if error.errno in _ABSENT else f"{UNKNOWN}: {error.strerror or error}"
    except Exception as error:  # a probe that breaks must not take the others with it
        return f"{UNKNOWN}: {error!r}"


def detect() -> dict[str, str]:
    """Every feature by name: "yes", "no", or "unknown: <why>"."""
    return {probe.__name__: _ask(probe) for probe in PROBES}


# What each variant of the probe needs, in these terms (bcc: and headers, which come along).
NEEDS = {
    "fentry": ("btf", "ringbuf", "fentry", "fexit", "tp_btf"),
    "kprobe": ("btf", "ringbuf", "kprobe"),
    "tracepoint": ("btf", "ringbuf", "tp_btf", "sock_send_length"),
    "proc": (),
    "bcc": ("kprobe",),
}


def supports(variant: str, features: dict[str, str]) -> str:
    """Whether a kernel with these features should carry the variant: yes, no, unknown."""
    answers = {features.get(need, UNKNOWN) for need in NEEDS[variant]}
    if NO in answers:
        return NO
    return YES if answers <= {YES} else UNKNOWN
