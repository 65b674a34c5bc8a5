"""The ways to attach: which object, which of its programs, and what the kernel must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xctl_probe.errors import SourceUnavailable

_KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")


@dataclass(frozen=True, slots=True)
class Hook:
    """One program and the name in the kernel's BTF that it hangs on."""

    program: str
    target: str
    optional: bool = False  # without it something is less exact, not missing


@dataclass(frozen=True, slots=True)
class Flavour:
    """One compiled object, and where it attaches."""

    name: str
    image: str  # file in xctl_probe.bpf
    hooks: tuple[Hook, ...]
    sockets_in_hash: bool = False
    trampolines: bool = False  # the first hook is a function that one is tried on
    needs: Path | None = None  # what the kernel shows where it can attach so at all


FULL_BUFFER = "on_full_buffer"

# Tracepoints that all flavours have in common; each is in the kernel's BTF by a type.
_RARE = (
    Hook("on_retransmit", "btf_trace_tcp_retransmit_skb"),
    Hook("on_retransmit_synack", "btf_trace_tcp_retransmit_synack"),
    Hook("on_reset", "btf_trace_tcp_receive_reset"),
    Hook("on_state", "btf_trace_inet_sock_set_state"),
)

TRACEPOINT = Flavour(
    "tracepoint",
    "tracepoint.bpf.o",
    (
        Hook("on_send", "btf_trace_sock_send_length"),
        Hook("on_receive", "btf_trace_sock_recv_length"),
        Hook(FULL_BUFFER, "btf_trace_tcp_sendmsg_locked", optional=True),
        *_RARE,
    ),
)

_FENTRY_HOOKS = (
    Hook("on_send", "inet_sendmsg"),
    Hook("on_receive", "inet_recvmsg"),
    Hook("on_send6", "inet6_sendmsg", optional=True),
    Hook("on_receive6", "inet6_recvmsg", optional=True),
    Hook("on_sendpage", "inet_sendpage", optional=True),
    Hook("on_splice_read", "tcp_splice_read", optional=True),
    Hook("on_accept", "inet_accept", optional=True),
    Hook(FULL_BUFFER, "sk_stream_wait_memory", optional=True),
    *_RARE,
)

FENTRY = Flavour("fentry", "fentry.bpf.o", _FENTRY_HOOKS, trampolines=True)

# The same on kernels that give these programs no socket storage (before 5.11).
FENTRY_HASH = Flavour(
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

KPROBE = Flavour(
    "kprobe",
    "kprobe.bpf.o",
    (
        Hook("begin_tcp_sendmsg", "tcp_sendmsg"),
        Hook("end_tcp_sendmsg", "tcp_sendmsg"),
        Hook("begin_tcp_sendpage", "tcp_sendpage", optional=True),
        Hook("end_tcp_sendpage", "tcp_sendpage", optional=True),
        Hook("begin_udp_sendmsg", "udp_sendmsg"),
        Hook("end_udp_sendmsg", "udp_sendmsg"),
        Hook("begin_udpv6_sendmsg", "udpv6_sendmsg", optional=True),
        Hook("end_udpv6_sendmsg", "udpv6_sendmsg", optional=True),
        Hook("on_datagram", "skb_consume_udp"),
        Hook(FULL_BUFFER, "sk_stream_wait_memory", optional=True),
        Hook("on_udp_end", "udp_destroy_sock", optional=True),
        Hook("on_udp6_end", "udpv6_destroy_sock", optional=True),
        Hook("on_receive", "btf_trace_tcp_rcv_space_adjust"),
        Hook("on_tcp_end", "btf_trace_tcp_destroy_sock"),
        *_RARE,
    ),
    sockets_in_hash=True,
    needs=Path("/sys/bus/event_source/devices/kprobe"),
)

FLAVOURS = (FENTRY, FENTRY_HASH, KPROBE, TRACEPOINT)  # best first

TRACE = Flavour(
    "trace",
    "trace.bpf.o",
    (
        Hook("trace_send", "btf_trace_sock_send_length"),
        Hook("trace_receive", "btf_trace_sock_recv_length"),
    ),
)


class KernelNames:
    """The names in the kernel's BTF: what can be hooked is asked, not guessed from a version.

    Raises SourceUnavailable where the kernel has none.
    """

    def __init__(self, path: Path = _KERNEL_BTF) -> None:
        try:
            self._image = path.read_bytes()
        except OSError:
            msg = (
                f"the kernel has no type information ({path}): it needs CONFIG_DEBUG_INFO_BTF; "
                "--backend bcc works without"
            )
            raise SourceUnavailable(msg) from None

    def __contains__(self, name: str) -> bool:
        return b"\0" + name.encode() + b"\0" in self._image
