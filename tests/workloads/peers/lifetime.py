"""A peer that is a probe itself."""

from __future__ import annotations

from peers.common import Steps


def holds_a_source() -> Steps:
    """Yields the attach variant of its kernel source, which it keeps for one step."""
    from xctl_probe.ebpf.source import KernelSource

    source = KernelSource()
    yield source.attach
    source.close()
