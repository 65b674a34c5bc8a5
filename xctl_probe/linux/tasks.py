"""Processes whose first thread has exited while others run.  proc(5): task.

Such a process is alive, after pthread_exit(3) in its main thread.  Its folder in /proc shows a
zombie without descriptors; the folders of the other threads show the descriptors.
"""

from __future__ import annotations

import os
from pathlib import Path

from xctl_probe.linux import procfs

_ENDED = ("Z", "X", "")
_MOST_THREADS = 256  # of one process; more are not read


def state_of(pid: int, proc: Path = Path("/proc")) -> str:
    """Return the state (proc(5): stat) of its first live thread; Z if none, empty if gone."""
    state = procfs.state(f"{proc}/{pid}/stat")
    return procfs.state(f"{proc}/{reader_of(pid, proc)}/stat") if state == "Z" else state


def reader_of(pid: int, proc: Path = Path("/proc")) -> int:
    """Return the thread whose folder shows descriptors and memory of `pid`: mostly `pid`."""
    if procfs.state(f"{proc}/{pid}/stat") != "Z":
        return pid
    try:
        tids = sorted(map(int, os.listdir(f"{proc}/{pid}/task")))
    except OSError:
        return pid
    living = (
        tid for tid in tids[:_MOST_THREADS] if procfs.state(f"{proc}/{tid}/stat") not in _ENDED
    )
    return next(living, pid)
