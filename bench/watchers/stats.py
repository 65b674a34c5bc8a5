"""The kernel's own clock around each BPF program: kernel.bpf_stats_enabled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


@contextmanager
def run_times() -> Iterator[None]:
    """Counted, while the context lasts; it costs each program two reads of a clock."""
    before = _SWITCH.read_text()
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text(before)
