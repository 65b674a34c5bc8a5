"""What else would be used: bpftrace's one-liners, nethogs, bcc's tcptop."""

from __future__ import annotations

import re

from bench.watchers import Watcher

_EVERY_SECOND = 'interval:s:1 { print(@sent); print(@received); clear(@sent); clear(@received); \
printf("ready\\n"); }'

# sock_send_length and sock_recv_length have the result of the call: bytes, or an error.
_TRACEPOINTS = f"""
tracepoint:sock:sock_send_length /args->ret > 0/ {{ @sent[pid] = sum(args->ret); }}
tracepoint:sock:sock_recv_length /args->ret > 0/ {{ @received[pid] = sum(args->ret); }}
{_EVERY_SECOND}
"""
_KPROBES = f"""
kretprobe:tcp_sendmsg, kretprobe:udp_sendmsg /(int32)retval > 0/ {{ @sent[pid] = sum(retval); }}
kretprobe:tcp_recvmsg, kretprobe:udp_recvmsg /(int32)retval > 0/ {{ @received[pid] = sum(retval); }}
{_EVERY_SECOND}
"""
_LOST_EVENTS = re.compile(rb"Lost (\d+) events")


def _lost_events(printed: bytes) -> int:
    return sum(int(count) for count in _LOST_EVENTS.findall(printed))


def _bpftrace(name: str, what: str, program: str) -> Watcher:
    return Watcher(
        name, what, lambda: ["bpftrace", "-e", program], b"ready", _lost_events, ("bpftrace",),
        starts_within_s=300,
    )  # fmt: skip


BPFTRACE = _bpftrace(
    "bpftrace", "a bpftrace one-liner, bytes by pid, same tracepoints", _TRACEPOINTS
)
BPFTRACE_KPROBE = _bpftrace(
    "bpftrace-kprobe", "a bpftrace one-liner, bytes by pid, kretprobes", _KPROBES
)
NETHOGS = Watcher(
    "nethogs", "nethogs, from captured packets",
    lambda: ["nethogs", "-a", "-t", "-C", "-d", "1", "lo"], b"Refreshing", needs=("nethogs",),
)  # fmt: skip
TCPTOP = Watcher(
    "tcptop", "bcc's tcptop, TCP only", lambda: ["tcptop-bpfcc", "-C", "1"],
    b"Tracing", needs=("tcptop-bpfcc",), starts_within_s=300,
    environment={"PYTHONUNBUFFERED": "1"},
)  # fmt: skip
