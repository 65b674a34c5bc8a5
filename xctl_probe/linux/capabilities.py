"""Privileges that the kernel source needs.  They are checked first: EPERM gives no reason."""

from __future__ import annotations

from pathlib import Path

# include/uapi/linux/capability.h
_CAP_SYS_ADMIN = 1 << 21
_CAP_PERFMON = 1 << 38
_CAP_BPF = 1 << 39

_FIRST_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h


def missing(proc: Path = Path("/proc")) -> str | None:
    """Return the missing privilege with its remedy, None where /proc shows none."""
    if (proc / "self/ns/user").stat().st_ino != _FIRST_USER_NAMESPACE:
        return "a user namespace has no right to BPF: run the probe outside of it"
    held = _effective((proc / "self/status").read_bytes())
    if held & _CAP_SYS_ADMIN or (held & _CAP_BPF and held & _CAP_PERFMON):
        return None
    return "not permitted: run as root, or with CAP_BPF and CAP_PERFMON"


def _effective(status: bytes) -> int:
    """Return the effective capabilities of /proc/<pid>/status as bits, 0 where the line is missing.

    The process name in the first line may contain any bytes.
    """
    for line in status.splitlines():
        if line.startswith(b"CapEff:"):
            try:
                return int(line.split()[1], 16)
            except (IndexError, ValueError):
                return 0
    return 0
