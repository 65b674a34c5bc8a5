"""How to start the probe in each variant, and how exact its records have to be."""

from __future__ import annotations

from dataclasses import replace

from support.backends import EBPF, LATE_IN_GUEST_MS, PROC, Backend

# Emulation takes fifty to a hundred times the CPU of the host for the same read.
SLOW_CPU = ("--proc-budget", "50")
# An interval more: the sampler samples once in each.
LATE_SAMPLE_MS = 900


def variant(name: str) -> Backend:
    """The variant of this name; "proc" is the sampler, which must need no privilege."""
    if name == "proc":
        return replace(
            PROC, options=(*PROC.options, *SLOW_CPU), stall_tolerance_ms=LATE_SAMPLE_MS,
            per_interval=False, start_s=240,
        )  # fmt: skip
    late = replace(EBPF, name=name, stall_tolerance_ms=LATE_IN_GUEST_MS)
    if name == "bcc":
        return replace(late, source="bcc", options=("--backend", "bcc", *SLOW_CPU), start_s=240)
    options = (*EBPF.options, "--attach", name, *SLOW_CPU)
    return replace(late, source=f"ebpf {name}", options=options, start_s=240)
