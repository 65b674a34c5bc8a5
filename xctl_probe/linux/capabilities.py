"""Privileges that the kernel source needs.  They are checked first: EPERM gives no reason."""

from __future__ import annotations

from pathlib import Path

from xctl_probe.linux import procfs

# include/uapi/linux/capability.h
_CAP_SYS_ADMIN = 1 << 21
_CAP_PERFMON = 1 << 38
_CAP_BPF = 1 << 39

_FIRST_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h


def missing(proc: Path = Path("/proc")) -> str | None:
    """Return the missing privilege with its remedy, None where /proc shows none."""
    if in_user_namespace(proc):
        return "a user namespace has no right to BPF: run the probe outside of it"
    held = procfs.effective_capabilities((proc / "self/status").read_bytes())
    if held & _CAP_SYS_ADMIN or (held & _CAP_BPF and held & _CAP_PERFMON):
        return None
    return "not permitted: run as root, or with CAP_BPF and CAP_PERFMON"


def in_user_namespace(proc: Path = procfs.PROC) -> bool:
    """Return True where this process is not in the user namespace of the host.  Raises OSError."""
    return procfs.namespace_inode("user", "self", proc) != _FIRST_USER_NAMESPACE
