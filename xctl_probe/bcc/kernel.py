"""What the running kernel has, before anything expensive is tried."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from xctl_probe.errors import SourceUnavailable
from xctl_probe.linux import capabilities

_PMUS = Path("/sys/bus/event_source/devices")
_NAME = 2  # of the columns: address, type, name, module
_KALLSYMS = Path("/proc/kallsyms")


def require_privileges() -> None:
    """Raises SourceUnavailable."""
    if (why := capabilities.missing()) is not None:
        raise SourceUnavailable(why)


def require_probes(pmus: Path = _PMUS) -> None:
    """Kprobes, and uprobes, which the walks over the sockets start from.

    As perf events (4.17, commit e12f03d7031a): those need neither debugfs nor tracefs, and end
    with the process.  Raises SourceUnavailable.
    """
    for kind in ("kprobe", "uprobe"):
        if not (pmus / kind).exists():
            msg = f"this kernel has no {kind}s: it needs CONFIG_{kind.upper()}_EVENTS, and 4.17"
            raise SourceUnavailable(f"{msg} or newer")


def symbols(wanted: Collection[str], kallsyms: Path = _KALLSYMS) -> dict[str, int]:
    """Which of these the kernel has, with their addresses (0 where those are hidden)."""
    names = {name.encode() for name in wanted}
    found = {}
    try:
        with kallsyms.open("rb") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) > _NAME and fields[_NAME] in names:
                    found[fields[_NAME].decode()] = int(fields[0], 16)
    except (OSError, ValueError):
        return {}
    return found
