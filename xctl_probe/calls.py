"""Which descriptors a thread's system call waits for.  proc(5): syscall; poll(2), select(2).

A client with a timeout rarely sits in recv: it sits in poll, on one descriptor.  Which one
stands in the process's memory, where the call's arguments point to.
"""

from __future__ import annotations

import os
import platform
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Role(StrEnum):
    """What a call does to the descriptors it is given."""

    RECEIVE = "receive"
    SEND = "send"
    CONNECT = "connect"
    ACCEPT = "accept"
    POLL = "poll"  # poll and select: the call names its descriptors
    EPOLL = "epoll"  # the event loop's: they were named before


@dataclass(frozen=True, slots=True)
class Watched:
    """A descriptor that a call waits for: to become readable, writable, or both."""

    fd: int
    reads: bool
    writes: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that a thread is in, and what it waits for there.

    `gives_up`: a poll of any kind that was given a timeout.
    """

    name: str
    role: Role
    watched: tuple[Watched, ...]
    gives_up: bool = False


# Numbers from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
_NUMBERS: dict[str, dict[int, tuple[str, Role]]] = {
    "x86_64": {
        0: ("read", Role.RECEIVE), 19: ("readv", Role.RECEIVE), 45: ("recvfrom", Role.RECEIVE),
        47: ("recvmsg", Role.RECEIVE), 299: ("recvmmsg", Role.RECEIVE),
        1: ("write", Role.SEND), 20: ("writev", Role.SEND), 40: ("sendfile", Role.SEND),
        44: ("sendto", Role.SEND), 46: ("sendmsg", Role.SEND), 307: ("sendmmsg", Role.SEND),
        42: ("connect", Role.CONNECT),
        43: ("accept", Role.ACCEPT), 288: ("accept4", Role.ACCEPT),
        7: ("poll", Role.POLL), 271: ("ppoll", Role.POLL),
        23: ("select", Role.POLL), 270: ("pselect6", Role.POLL),
        232: ("epoll_wait", Role.EPOLL), 281: ("epoll_pwait", Role.EPOLL),
        441: ("epoll_pwait2", Role.EPOLL),
    },
    "aarch64": {
        63: ("read", Role.RECEIVE), 65: ("readv", Role.RECEIVE), 207: ("recvfrom", Role.RECEIVE),
        212: ("recvmsg", Role.RECEIVE), 243: ("recvmmsg", Role.RECEIVE),
        64: ("write", Role.SEND), 66: ("writev", Role.SEND), 71: ("sendfile", Role.SEND),
        206: ("sendto", Role.SEND), 211: ("sendmsg", Role.SEND), 269: ("sendmmsg", Role.SEND),
        203: ("connect", Role.CONNECT),
        202: ("accept", Role.ACCEPT), 242: ("accept4", Role.ACCEPT),
        73: ("ppoll", Role.POLL), 72: ("pselect6", Role.POLL),
        22: ("epoll_pwait", Role.EPOLL), 441: ("epoll_pwait2", Role.EPOLL),
    },
}  # fmt: skip

_DIRECTIONS = {
    Role.RECEIVE: (True, False),
    Role.SEND: (False, True),
    Role.CONNECT: (False, True),
    Role.ACCEPT: (True, False),
}
_TIMEOUT_AT = {
    "poll": 2, "ppoll": 2, "select": 4, "pselect6": 4,
    "epoll_wait": 3, "epoll_pwait": 3, "epoll_pwait2": 3,
}  # fmt: skip
_MILLISECONDS = ("poll", "epoll_wait", "epoll_pwait")
_NEGATIVE = 1 << 31  # in an int, whatever the upper half of the register holds
_POLLFD = struct.Struct("=iHH")
_MOST_FDS = 4096  # of one poll or select: more are not looked at

ReadMemory = Callable[[int, int], bytes]


def call_of(
    syscall: str, pid: int, proc: Path = Path("/proc"), machine: str = platform.machine()
) -> Call | None:
    """The call in a line of /proc/<pid>/syscall; None if it waits for no descriptor."""
    known = parsed(syscall, machine)
    if known is None:
        return None
    name, role, arguments = known
    fd = arguments[0] & 0xFFFFFFFF
    if role is Role.POLL:
        return Call(name, role, polled(name, arguments, pid, proc), _gives_up(name, arguments))
    if role is Role.EPOLL:
        return Call(name, role, epoll_watches(pid, fd, proc), _gives_up(name, arguments))
    return Call(name, role, (Watched(fd, *_DIRECTIONS[role]),))


def _gives_up(name: str, arguments: list[int]) -> bool:
    """Milliseconds, negative for no limit; or the address of a timespec or timeval, 0 for none."""
    timeout = arguments[_TIMEOUT_AT[name]]
    if name in _MILLISECONDS:
        return not timeout & _NEGATIVE
    return timeout != 0


def parsed(syscall: str, machine: str = platform.machine()) -> tuple[str, Role, list[int]] | None:
    """Name, role and arguments of the call in such a line; None if it waits for no descriptor."""
    fields = syscall.split()
    try:
        number, arguments = int(fields[0]), [int(field, 16) for field in fields[1:7]]
    except (IndexError, ValueError):  # "running", or nothing that may be read
        return None
    known = _NUMBERS.get(machine, {}).get(number)
    if known is None or len(arguments) < 6:  # noqa: PLR2004 - a call has six
        return None
    return *known, arguments


def polled(
    name: str, arguments: list[int], pid: int, proc: Path = Path("/proc")
) -> tuple[Watched, ...]:
    """What a poll or select of `pid` asks for; empty where its memory may not be read."""

    def memory(address: int, size: int) -> bytes:
        return _read_memory(proc / str(pid) / "mem", address, size)

    return (_polled if name.endswith("poll") else _selected)(arguments, memory)


def epoll_watches(pid: int, fd: int, proc: Path = Path("/proc")) -> tuple[Watched, ...]:
    """What an epoll descriptor watches.  proc(5): fdinfo.

    Edge-triggered users ask for writability always, so theirs says nothing and is left out.
    """
    try:
        text = (proc / str(pid) / "fdinfo" / str(fd)).read_text("ascii", "replace")
    except OSError:
        return ()
    found = []
    for line in text.splitlines():
        words = line.replace(":", ": ").split()
        if words[:1] != ["tfd:"]:
            continue
        try:
            target, events = int(words[1]), int(words[words.index("events:") + 1], 16)
        except (IndexError, ValueError):
            continue
        writes = bool(events & select.EPOLLOUT) and not events & select.EPOLLET
        found.append(Watched(target, bool(events & select.EPOLLIN), writes))
    return tuple(found)


def _polled(arguments: list[int], memory: ReadMemory) -> tuple[Watched, ...]:
    """poll(struct pollfd *fds, nfds_t nfds, ...)."""
    raw = memory(arguments[0], min(arguments[1], _MOST_FDS) * _POLLFD.size)
    whole = raw[: len(raw) - len(raw) % _POLLFD.size]
    return tuple(
        Watched(fd, bool(events & select.POLLIN), bool(events & select.POLLOUT))
        for fd, events, _ in _POLLFD.iter_unpack(whole)
        if fd >= 0
    )


def _selected(arguments: list[int], memory: ReadMemory) -> tuple[Watched, ...]:
    """select(int nfds, fd_set *readfds, fd_set *writefds, ...)."""
    count = min(arguments[0] & 0xFFFFFFFF, _MOST_FDS)
    size = (count + 7) // 8
    reads, writes = (
        int.from_bytes(memory(address, size) if address else b"", "little")
        for address in arguments[1:3]
    )
    return tuple(
        Watched(fd, bool(reads >> fd & 1), bool(writes >> fd & 1))
        for fd in range(count)
        if (reads | writes) >> fd & 1
    )


def _read_memory(path: Path, address: int, size: int) -> bytes:
    """Bytes of another process; empty where they may not be read, which needs ptrace's rights."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)
