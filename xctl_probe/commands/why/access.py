"""Access to a process, and the remedy where it is refused.  ptrace(2); proc(5): fd."""

from __future__ import annotations

import os

from xctl_probe.commands.why.proc_sampler import socket_fds
from xctl_probe.errors import UsageError
from xctl_probe.linux.capability_sets import PTRACE, names
from xctl_probe.linux.procfs import effective_capabilities, read, users
from xctl_probe.linux.tasks import reader_of, state_of

_EFFECTIVE = 1  # index among the four user ids of /proc/<pid>/status
_ENDED = ("", "X", "Z")


def has_ended(pid: int) -> bool:
    """True when all threads of the process have exited."""
    return state_of(pid) in _ENDED


def fds_of(pid: int) -> dict[int, int]:
    """Return the sockets of the process: descriptor by inode.

    Raises UsageError, with the remedy, where they are unreadable or the process is gone.
    """
    try:
        return socket_fds(reader_of(pid))
    except PermissionError:
        raise UsageError(f"why {pid}: could not be seen, because {_refusal(pid)}") from None
    except OSError:
        raise UsageError(f"why {pid}: the process exited during the samples") from None


def _refusal(pid: int) -> str:
    if os.geteuid() == 0 and PTRACE in names(
        effective_capabilities(read("/proc/thread-self/status"))
    ):
        return (
            "this root has CAP_SYS_PTRACE, but it belongs to another user namespace, or a security "
            "module (AppArmor, SELinux) refuses it: run it on the host, without such a profile"
        )
    if os.geteuid() == 0:
        return (
            "this root lacks CAP_SYS_PTRACE, as in a container: start the container with "
            "--cap-add SYS_PTRACE, or run it on the host"
        )
    owner = _effective_user(pid)
    if owner == os.geteuid():
        return (
            "it is yours, but may not be inspected: its program has file capabilities or is "
            f"set-uid, or it called prctl(PR_SET_DUMPABLE); run as root ({_as_root(pid)})"
        )
    whose = "" if owner is None else f" of user {_user(owner)}"
    return f"not permitted to inspect a process{whose}: run as root ({_as_root(pid)})"


def _as_root(pid: int) -> str:
    return f"sudo xctl-probe-network why {pid}"


def _effective_user(pid: int) -> int | None:
    # The owner of /proc/<pid> is root where the process may not be dumped.
    found = users(pid)
    return found[_EFFECTIVE] if len(found) > _EFFECTIVE else None


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 - only for a refusal

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
