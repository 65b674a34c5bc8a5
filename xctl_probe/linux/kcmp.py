"""Whether two descriptors, or two threads, share one object of the kernel.  kcmp(2)."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from pathlib import Path

from xctl_probe.linux.procfs import PROC

_NUMBER = {"x86_64": 312, "aarch64": 272}.get(platform.machine())
_FILE, _FILES = 0, 2  # include/uapi/linux/kcmp.h
_SAME, _REFUSED = 0, -1


def is_same_file(pid: int, one: int, other: int, proc: Path = PROC) -> bool:
    """Return whether two descriptors of `pid` are one open file; False where that is not known."""
    return _compared(proc, pid, pid, _FILE, one, other) == _SAME


def has_own_descriptors(tid: int, pid: int, proc: Path = PROC) -> bool:
    """Return whether a thread has other descriptors than `pid`, after unshare(CLONE_FILES).

    False where that is not known.
    """
    return tid != pid and _compared(proc, tid, pid, _FILES, 0, 0) not in (_SAME, _REFUSED)


def _compared(proc: Path, *arguments: int) -> int:
    """Return 0 for the same, -1 where it is refused or gone, else another number."""
    if _NUMBER is None or proc != PROC:
        return _REFUSED
    return int(_libc().syscall(_NUMBER, *arguments))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
