"""Threads of a process that are blocked on a socket.  proc(5): wchan, syscall.

Who polls one socket to read it, and nothing else, is as good as in the receive: so wait libpq, and
Python where a socket has a timeout.  bpf/include/waitqueue.bpf.h has the same rule.

Both files are readable for processes of the same user; /proc/<pid>/syscall also needs the rights of
ptrace (Yama may refuse it).  Without them, wchan is the only evidence.
"""

from __future__ import annotations

import os
import platform
import select
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from xctl_probe.events import Direction
from xctl_probe.linux import procfs, wchan
from xctl_probe.linux.epoll import Epolls
from xctl_probe.linux.epoll_fdinfo import entries
from xctl_probe.linux.syscalls import (
    TO_WRITE,
    Role,
    Watched,
    has_other_calls,
    is_cut,
    moved_to,
    parsed,
    polled,
    resumed,
    role_of,
)
from xctl_probe.linux.tasks import reader_of

_DIRECTIONS = {Role.RECEIVE: Direction.RECEIVE, Role.SEND: Direction.SEND}
_MACHINE = platform.machine()
_ON_SOCKET = (*wchan.EITHER, *wchan.RECEIVE, *wchan.SEND, *wchan.POLL)


@dataclass(frozen=True, slots=True)
class BlockedThread:
    """Thread that waits on a socket; a value that is unreadable is None."""

    tid: int
    fd: int | None
    direction: Direction | None


def blocked_threads(pid: int, proc: Path = Path("/proc")) -> list[BlockedThread]:
    """Return the threads of `pid` that wait on a socket now; empty where none is readable."""
    tasks = f"{proc}/{pid}/task"
    try:
        tids = os.listdir(tasks)
    except OSError:
        return []
    found: list[BlockedThread] = []
    known = not has_other_calls(reader_of(pid, proc), proc)
    for tid in tids:
        function = procfs.word(f"{tasks}/{tid}/wchan")
        if function in wchan.UNKNOWN or function.startswith(_ON_SOCKET):
            line = procfs.word(f"{tasks}/{tid}/syscall") if known else ""
            call = resumed(line, f"{tasks}/{tid}/wchan", _MACHINE)
            found += _blocked(int(tid), function, call, pid, proc)
    return found


def _blocked(tid: int, function: str, line: str, pid: int, proc: Path) -> tuple[BlockedThread, ...]:
    """Return the thread if it waits on a socket; its kernel function or its call shows the way."""
    fd, role = _call(line)
    if function.startswith(wchan.POLL) or role is Role.POLL:
        alone = _polled_alone(line, pid, proc)
        return () if alone is None else (BlockedThread(tid, alone, Direction.RECEIVE),)
    called = _DIRECTIONS.get(role) if role else None
    if called:
        return (BlockedThread(tid, fd, called),)
    if function in wchan.UNKNOWN:
        return ()
    if role is Role.MOVE:
        return _moving(tid, line, pid, proc)
    if function.startswith(wchan.RECEIVE):
        return (BlockedThread(tid, None, Direction.RECEIVE),)
    return (BlockedThread(tid, None, Direction.SEND if function.startswith(wchan.SEND) else None),)


def _moving(tid: int, line: str, pid: int, proc: Path) -> tuple[BlockedThread, ...]:
    """Return the thread in a splice, by the end of it that is a socket: the other is a pipe."""
    call = parsed(line, _MACHINE)
    if call is None:
        return ()
    name, _, arguments = call
    descriptors = (
        (arguments[0] & 0xFFFFFFFF, Direction.RECEIVE),
        (moved_to(name, arguments), Direction.SEND),
    )
    # The thread's own folder: its descriptors may not be those of the process.
    folder = f"{proc}/{pid}/task/{tid}/fd"
    found = (
        BlockedThread(tid, fd, direction)
        for fd, direction in descriptors
        if procfs.socket_inode(procfs.link(f"{folder}/{fd}")) is not None
    )
    return tuple(islice(found, 1))


def _polled_alone(line: str, pid: int, proc: Path) -> int | None:
    """Return the only descriptor of a poll or select, where it is polled to read it."""
    call = parsed(line, _MACHINE)
    if call is None or call[1] is not Role.POLL or is_cut(call[0], call[2]):
        return None
    match polled(call[0], call[2], reader_of(pid, proc), proc):
        case (Watched(fd, reads=True, writes=False),):
            return fd
    return None


def closing_threads(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the threads of `pid` that wait in close(); empty where none is readable.

    Where the call is unreadable, a thread in `wait_woken` may be in another call.
    """
    tasks = f"{proc}/{pid}/task"
    try:
        tids = os.listdir(tasks)
    except OSError:
        return []
    if has_other_calls(reader_of(pid, proc), proc):
        return []
    return [
        int(tid)
        for tid in tids
        if _call(procfs.word(f"{tasks}/{tid}/syscall"))[1] is Role.CLOSE
        and _closes(procfs.word(f"{tasks}/{tid}/wchan"))
    ]


def inodes_awaited_writable(pid: int, proc: Path = Path("/proc")) -> set[int]:
    """The inodes that epoll instances of `pid` are to report as writable again.

    An event loop requests that only after a refused send.  Edge-triggered entries always include
    it, so they are no evidence.  proc(5): fdinfo of an epoll descriptor.
    """
    reader = reader_of(pid, proc)
    return {
        entry.inode
        for fd in Epolls(proc).of(reader)
        for entry in entries(procfs.read(f"{proc}/{reader}/fdinfo/{fd}", 1 << 20))
        if entry.events & TO_WRITE and not entry.events & select.EPOLLET
    } - {0}


def _call(text: str) -> tuple[int | None, Role | None]:
    """Return descriptor and role of a line of /proc/<pid>/syscall: number, arguments in hex."""
    fields = text.split()
    try:
        number, first = int(fields[0]), int(fields[1], 16)
    except (IndexError, ValueError):  # "running", "-1 ...", or unreadable
        return None, None
    role = role_of(number, _MACHINE)
    return (first & 0xFFFFFFFF, role) if role is not None else (None, None)


def _closes(function: str) -> bool:
    return function.startswith(wchan.CLOSE) or function in wchan.UNKNOWN
