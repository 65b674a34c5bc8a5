"""Features of the running kernel, checked before anything expensive."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from xctl_probe.errors import SourceUnavailable
from xctl_probe.linux import capabilities

_PMUS = Path("/sys/bus/event_source/devices")
_NAME = 2  # of the columns: address, type, name, module
_KALLSYMS = Path("/proc/kallsyms")


def require_privileges() -> None:
    """Raise SourceUnavailable where a privilege is missing."""
    if (why := capabilities.missing()) is not None:
        raise SourceUnavailable(why)


def require_probes(pmus: Path = _PMUS) -> None:
    """Raise SourceUnavailable without kprobes, and uprobes, which the socket iteration needs.

    As perf events (4.17, commit e12f03d7031a) they need neither debugfs nor tracefs, and go away
    with the process.
    """
    for kind in ("kprobe", "uprobe"):
        if not (pmus / kind).exists():
            msg = f"this kernel has no {kind}s: it needs CONFIG_{kind.upper()}_EVENTS, and 4.17"
            raise SourceUnavailable(f"{msg} or newer")


def symbols(wanted: Collection[str], kallsyms: Path = _KALLSYMS) -> dict[str, int]:
    """Return those of the symbols that the kernel has, with addresses (0 where hidden)."""
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
