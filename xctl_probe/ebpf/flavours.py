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


FULL_BUFFER = "on_full_buffer"

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

FLAVOURS = (TRACEPOINT,)  # best first

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
