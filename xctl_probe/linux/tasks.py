"""What a process is by all of its threads, and not by the first one.  proc(5): task.

A process whose first thread has exited, by pthread_exit(3), is alive.  Its folder in /proc shows a
zombie without descriptors; the folders of the other threads show the descriptors.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from xctl_probe.linux import procfs

_ENDED = ("Z", "X", "")
_STOPPED, _TRACED = "T", "t"
_MOST_THREADS = 256  # of one process; more are not read
_MOST_STATES = _MOST_PARENTS = 1_024
_CHILDREN = 8_000  # bytes: at most a number of seven digits and a blank each


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


def held_state(states: Iterable[str]) -> str:
    """Return T or t where the process is stopped, from the states of its threads; else empty.

    The first thread is the first.  A signal stops all threads, ptrace(2) each one by itself.
    """
    living = (state for state in states if state not in _ENDED)
    first = next(living, "")
    if first == _STOPPED:
        return first
    held = first == _TRACED and all(state in (_STOPPED, _TRACED) for state in living)
    return first if held else ""


def held_state_of(pid: int, proc: Path = Path("/proc")) -> str:
    """Return T or t (proc(5): stat) where all of the process is stopped, else empty."""
    folder = f"{proc}/{pid}/task"
    others = (procfs.state(f"{folder}/{tid}/stat") for tid in _tids(folder, _MOST_STATES))
    return held_state(chain([state_of(pid, proc)], others))


def children_of(
    pid: int, proc: Path = Path("/proc"), most_threads: int = _MOST_PARENTS
) -> list[int]:
    """Return the children of its threads, those of the first thread first; empty if gone.

    A child has the thread as its parent that started it.  Of one thread, a thousand are read.
    """
    folder = f"{proc}/{pid}/task"
    tids = sorted(map(int, _tids(folder, most_threads)), key=lambda tid: (tid != pid, tid))
    texts = (procfs.read_once(f"{folder}/{tid}/children", _CHILDREN) for tid in tids)
    # A blank follows each number: after the last one, a number may be cut.
    return [int(word) for text in texts for word in text.rpartition(b" ")[0].split()]


def descendants_of(pid: int, most: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the children of a process, theirs, and so on, the nearest first; at most so many."""
    found: list[int] = []
    left = deque([pid])
    while left and len(found) < most:
        children = children_of(left.popleft(), proc)
        found += children
        left += children
    return found[:most]


def _tids(folder: str, most: int) -> Iterator[str]:
    """Yield the first threads in a folder `task`, when the first one is asked for."""
    try:
        yield from islice(os.listdir(folder), most)
    except OSError:
        return
