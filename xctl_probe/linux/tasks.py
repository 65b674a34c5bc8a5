"""Processes whose first thread has ended while others live.  proc(5): task.

Such a process is alive: pthread_exit(3) in its main thread makes one.  Its own folder in /proc
then says that it is a zombie and lists no descriptors; those of its other threads have them.
"""

from __future__ import annotations

import os
from pathlib import Path

_ENDED = ("Z", "X", "")
_MOST_THREADS = 256  # of one process: more are not asked


def state_of(pid: int, proc: Path = Path("/proc")) -> str:
    """The state (proc(5): stat) of its first thread that lives; Z if none does, empty if gone."""
    state = _state(f"{proc}/{pid}/stat")
    return _state(f"{proc}/{reader_of(pid, proc)}/stat") if state == "Z" else state


def reader_of(pid: int, proc: Path = Path("/proc")) -> int:
    """The thread whose folder shows the descriptors and the memory of `pid`: mostly `pid`."""
    if _state(f"{proc}/{pid}/stat") != "Z":
        return pid
    try:
        tids = sorted(map(int, os.listdir(f"{proc}/{pid}/task")))
    except OSError:
        return pid
    living = (tid for tid in tids[:_MOST_THREADS] if _state(f"{proc}/{tid}/stat") not in _ENDED)
    return next(living, pid)


def _state(path: str) -> str:
    try:
        with open(path, "rb") as file:
            _, bracket, rest = file.read().rpartition(b")")
    except OSError:
        return ""
    fields = rest.split()
    return fields[0].decode("ascii", "replace") if bracket and fields else ""
