"""All watchers: those that work on any kernel of today, and those that need kprobes."""

from __future__ import annotations

from bench.watchers import empty, probe, rivals

NATIVE = (probe.EBPF, probe.PROC, empty.EMPTY, rivals.BPFTRACE, rivals.NETHOGS)
GUEST = (
    probe.FENTRY,
    probe.KPROBE,
    probe.BCC,
    empty.EMPTY_FENTRY,
    empty.EMPTY_KPROBE,
    rivals.BPFTRACE_KPROBE,
    rivals.TCPTOP,
)
