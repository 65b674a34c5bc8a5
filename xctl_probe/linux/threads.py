"""What the threads of a process are blocked in right now.  proc(5): wchan, syscall.

Both files may be read for one's own processes; /proc/<pid>/syscall also needs what ptrace
needs (Yama may refuse it), and then only wchan speaks.
"""

from __future__ import annotations

import os
import platform
import select
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.events import Direction
from xctl_probe.linux import wchan
from xctl_probe.linux.epoll import Epolls
from xctl_probe.linux.epoll_fdinfo import entries
from xctl_probe.linux.syscalls import Role, role_of
from xctl_probe.linux.tasks import reader_of

_DIRECTIONS = {Role.RECEIVE: Direction.RECEIVE, Role.SEND: Direction.SEND}
_MACHINE = platform.machine()


@dataclass(frozen=True, slots=True)
class BlockedThread:
    """A thread that waits on a socket; what may not be read is None."""

    tid: int
    fd: int | None
    direction: Direction | None


def blocked_threads(pid: int, proc: Path = Path("/proc")) -> list[BlockedThread]:
    """The threads of `pid` that wait on a socket now; empty where none may be read."""
    tasks = f"{proc}/{pid}/task"
    try:
        tids = os.listdir(tasks)
    except OSError:
        return []
    found = []
    for tid in tids:
        function = _wchan(f"{tasks}/{tid}")
        direction = None
        if function.startswith(wchan.RECEIVE):
            direction = Direction.RECEIVE
        elif function.startswith(wchan.SEND):
            direction = Direction.SEND
        elif not function.startswith(wchan.EITHER) and function not in wchan.UNKNOWN:
            continue
        fd, role = _call(_read(f"{tasks}/{tid}/syscall"))
        called = _DIRECTIONS.get(role) if role else None
        if called or function not in wchan.UNKNOWN:
            found.append(BlockedThread(int(tid), fd if called else None, called or direction))
    return found


def closing_threads(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The threads of `pid` that wait for a socket in close(); empty where none may be read.

    Where its call may not be read, a thread in `wait_woken` may as well be in another one.
    """
    tasks = f"{proc}/{pid}/task"
    try:
        tids = os.listdir(tasks)
    except OSError:
        return []
    return [
        int(tid)
        for tid in tids
        if _call(_read(f"{tasks}/{tid}/syscall"))[1] is Role.CLOSE
        and _closes(_wchan(f"{tasks}/{tid}"))
    ]


def inodes_awaited_writable(pid: int, proc: Path = Path("/proc")) -> set[int]:
    """The inodes that epoll instances of `pid` are to report as writable again.

    An event loop asks for that only after a send was refused.  Edge-triggered users ask for
    it always, so theirs says nothing.  proc(5): fdinfo of an epoll descriptor.
    """
    reader = reader_of(pid, proc)
    return {
        entry.inode
        for fd in Epolls(proc).of(reader)
        for entry in entries(_read(f"{proc}/{reader}/fdinfo/{fd}", 1 << 20))
        if entry.events & select.EPOLLOUT and not entry.events & select.EPOLLET
    } - {0}


def _call(text: bytes) -> tuple[int | None, Role | None]:
    """Descriptor and role of a line of /proc/<pid>/syscall: number, arguments in hex."""
    fields = text.split()
    try:
        number, first = int(fields[0]), int(fields[1], 16)
    except (IndexError, ValueError):  # "running", "-1 ...", or not to be read
        return None, None
    role = role_of(number, _MACHINE)
    return (first & 0xFFFFFFFF, role) if role is not None else (None, None)


def _closes(function: str) -> bool:
    return function.startswith(wchan.CLOSE) or function in wchan.UNKNOWN


def _wchan(task: str) -> str:
    return _read(f"{task}/wchan").decode("ascii", "replace")


def _read(path: str, size: int = 256) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""
