"""Attach variants: their object, their programs and hooks, and what they need."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from xctl_probe.errors import SourceUnavailable
from xctl_probe.metrics import OF_SOURCES, Metric

_KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
_MODULE_BTF = Path("/sys/kernel/btf/ipv6")  # where IPv6 is a module (CONFIG_IPV6=m); 5.11
# struct btf_header (include/uapi/linux/btf.h): hdr_len and str_off are needed
_BTF_HEADER = struct.Struct("=4xI8xI4x")
_PIECE_BYTES = 1 << 16
_TRACEPOINT = "btf_trace_"  # before a tracepoint's name in BTF


@dataclass(frozen=True, slots=True)
class Hook:
    """A program, and the name of its hook in the kernel's BTF.

    `serves`: the metrics of which one has to be on for it; by default any that has a source, since
    each needs the owners of sockets, and their end.
    """

    program: str
    target: str
    optional: bool = False  # without it, events are less exact, not missing
    at_return: bool = False  # at the return of the function, else at the entry
    bcc_program: str | None = None  # name in bpf/bcc.c, where it differs
    serves: frozenset[Metric] = OF_SOURCES

    @property
    def symbol(self) -> str:
        """Name of the function or tracepoint."""
        return self.target.removeprefix(_TRACEPOINT)

    @property
    def is_tracepoint(self) -> bool:
        """True for a tracepoint, False for a function."""
        return self.target.startswith(_TRACEPOINT)


@dataclass(frozen=True, slots=True)
class AttachVariant:
    """A compiled object, and its hooks."""

    name: str
    image: str  # file in xctl_probe.bpf
    hooks: tuple[Hook, ...]
    sockets_in_hash: bool = False
    sockets_by_file: bool = False
    tracing: bool = True  # its programs are of the type TRACING, else kprobes are among them
    iterates: bool = True  # it has socket iterators
    trampolines: bool = False  # needs trampolines; tested on the first hook
    needs: Path | None = None  # exists where the kernel supports such hooks
    left_out: tuple[str, ...] = ()  # programs of the object that are not to be loaded

    def for_metrics(self, metrics: frozenset[Metric]) -> AttachVariant:
        """Return the variant without the programs that serve none of these metrics."""
        hooks = tuple(hook for hook in self.hooks if hook.serves & metrics)
        unused = [hook.program for hook in self.hooks if hook not in hooks]
        if Metric.STALLS not in metrics:
            unused.append(WAITERS)
        return replace(self, hooks=hooks, left_out=tuple(unused))

    @property
    def map_iterator(self) -> str | None:
        """Kind of the map that is iterated for its sockets; None where none is."""
        if self.sockets_by_file or not self.iterates:
            return None
        return "bpf_map_elem" if self.sockets_in_hash else "bpf_sk_storage_map"


FULL_BUFFER = "on_full_buffer"
WAITERS = "iter_waiters"  # the iterator over what waits
_STALLS, _ERRORS = frozenset((Metric.STALLS,)), frozenset((Metric.ERRORS,))

# Tracepoints of all variants; each is in the kernel's BTF by a type.
_RARE = (
    Hook("on_retransmit", "btf_trace_tcp_retransmit_skb", serves=_ERRORS | _STALLS),
    Hook("on_retransmit_synack", "btf_trace_tcp_retransmit_synack", serves=_ERRORS),
    Hook("on_reset", "btf_trace_tcp_receive_reset", serves=_ERRORS),
    Hook("on_state", "btf_trace_inet_sock_set_state"),
)

TRACEPOINT = AttachVariant(
    "tracepoint",
    "tracepoint.bpf.o",
    (
        Hook("on_send", "btf_trace_sock_send_length"),
        Hook("on_receive", "btf_trace_sock_recv_length"),
        Hook(FULL_BUFFER, "btf_trace_tcp_sendmsg_locked", optional=True, serves=_STALLS),
        *_RARE,
    ),
)

# The same for kernels that refuse iterators over maps: sockets are found by the files of tasks.
TRACEPOINT_FILES = replace(
    TRACEPOINT, name="tracepoint_files", image="tracepoint_files.bpf.o", sockets_by_file=True
)

_FENTRY_HOOKS = (
    Hook("on_send", "inet_sendmsg"),
    Hook("on_receive", "inet_recvmsg"),
    Hook("on_send6", "inet6_sendmsg", optional=True),
    Hook("on_receive6", "inet6_recvmsg", optional=True),
    Hook("on_sendpage", "inet_sendpage", optional=True),
    Hook("on_splice_read", "tcp_splice_read", optional=True),
    Hook("on_accept", "inet_accept", optional=True),
    Hook(FULL_BUFFER, "sk_stream_wait_memory", optional=True, serves=_STALLS),
    *_RARE,
)

FENTRY = AttachVariant("fentry", "fentry.bpf.o", _FENTRY_HOOKS, trampolines=True)

# The same for kernels without socket storage for these programs (before 5.11), or without memory
# as an argument of functions (before 5.12).
FENTRY_HASH = AttachVariant(
    "fentry",
    "fentry_hash.bpf.o",
    (
        *_FENTRY_HOOKS,
        Hook("on_tcp_end", "btf_trace_tcp_destroy_sock"),
        Hook("on_udp_end", "udp_destroy_sock", optional=True),
        Hook("on_udp6_end", "udpv6_destroy_sock", optional=True),
    ),
    sockets_in_hash=True,
    trampolines=True,
)

# bcc attaches to the same hooks (xctl_probe/bcc/program.py).
KPROBE = AttachVariant(
    "kprobe",
    "kprobe.bpf.o",
    (
        Hook("on_release", "release_sock"),
        # Returns first: a return without its entry is ignored.
        Hook("end_udp_sendmsg", "udp_sendmsg", at_return=True, bcc_program="end_udp"),
        Hook("begin_udp_sendmsg", "udp_sendmsg", bcc_program="begin_udp"),
        Hook(
            "end_udpv6_sendmsg",
            "udpv6_sendmsg",
            optional=True,
            at_return=True,
            bcc_program="end_udpv6",
        ),
        Hook("begin_udpv6_sendmsg", "udpv6_sendmsg", optional=True, bcc_program="begin_udpv6"),
        # until 6.5
        Hook(
            "end_udp_sendpage",
            "udp_sendpage",
            optional=True,
            at_return=True,
            bcc_program="end_page",
        ),
        Hook("begin_udp_sendpage", "udp_sendpage", optional=True, bcc_program="begin_page"),
        Hook("on_datagram", "skb_consume_udp"),
        Hook(FULL_BUFFER, "sk_stream_wait_memory", optional=True, serves=_STALLS),
        Hook("on_udp_end", "udp_destroy_sock", optional=True),
        Hook("on_udp6_end", "udpv6_destroy_sock", optional=True, bcc_program="on_udp_end"),
        Hook("on_tcp_end", "btf_trace_tcp_destroy_sock"),
        *_RARE,
    ),
    sockets_in_hash=True,
    tracing=False,
    needs=Path("/sys/bus/event_source/devices/kprobe"),
)

ATTACH_VARIANTS = (FENTRY, FENTRY_HASH, KPROBE, TRACEPOINT, TRACEPOINT_FILES)  # best first

TRACE = AttachVariant(
    "trace",
    "call_trace.bpf.o",
    (
        Hook("trace_send", "btf_trace_sock_send_length"),
        Hook("trace_receive", "btf_trace_sock_recv_length"),
    ),
    iterates=False,
)


ON_FORK, ON_PROCESS_EXIT = "on_fork", "on_process_exit"
# Children first: none is missed while the iterator finds the process itself.
PROFILE = AttachVariant(
    "profile",
    "profile.bpf.o",
    (
        Hook(ON_FORK, "btf_trace_sched_process_fork"),
        Hook(ON_PROCESS_EXIT, "btf_trace_sched_process_exit"),
        Hook("on_exit", "btf_trace_sys_exit"),
        Hook("on_enter", "btf_trace_sys_enter"),
    ),
    iterates=False,
)
PROFILE_ALONE = replace(PROFILE, hooks=PROFILE.hooks[2:], left_out=(ON_FORK, ON_PROCESS_EXIT))


# Members of structs that not all kernels have, by the feature that they show; the programs test
# for the same (bpf_core_field_exists).  Each has a name that no other struct uses.
FIELDS = {
    "mptcp": "is_mptcp",  # in struct tcp_sock, with CONFIG_MPTCP
    "sk_rx_dst_ifindex": "sk_rx_dst_ifindex",  # before 5.16 it is in struct inet_sock
}


# Since 6.1.  Without it, the kernel warns of a map that allocates as it fills, where a kprobe or
# a raw tracepoint uses it (commit 94dacdbd5d2d).
MAP_ALLOCATOR = "bpf_mem_alloc_init"


def kernel_names(path: Path = _KERNEL_BTF, module: Path = _MODULE_BTF) -> frozenset[str]:
    """Return what this kernel has, by its BTF: hooks of all variants, fields, MAP_ALLOCATOR.

    `module`: the BTF of a module that has hooks of its own, where it is loaded.
    Raises SourceUnavailable where the kernel has no BTF.
    """
    wanted = {
        hook.target.encode()
        for variant in (*ATTACH_VARIANTS, TRACE, PROFILE)
        for hook in variant.hooks
    } | {name.encode() for name in (*FIELDS.values(), MAP_ALLOCATOR)}
    try:
        found = _names_in(path, wanted)
    except (OSError, struct.error):
        msg = (
            f"the kernel has no type information ({path}): it needs CONFIG_DEBUG_INFO_BTF; "
            "--backend bcc works without"
        )
        raise SourceUnavailable(msg) from None
    with suppress(OSError, struct.error):
        found |= _names_in(module, wanted)
    return frozenset(name.decode() for name in found)


def _names_in(path: Path, wanted: set[bytes]) -> set[bytes]:
    """Search BTF, which may have 6 MB, in pieces.  Raises OSError, struct.error."""
    found: set[bytes] = set()
    with path.open("rb", buffering=0) as file:
        header = _BTF_HEADER.unpack(file.read(_BTF_HEADER.size))
        file.seek(header[0] + header[1])
        begun = b""
        while piece := file.read(_PIECE_BYTES):
            *whole, begun = (begun + piece).split(b"\0")
            found |= wanted.intersection(whole)
    return found
