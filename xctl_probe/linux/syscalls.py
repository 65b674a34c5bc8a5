"""Descriptors that the system call of a thread waits for.  proc(5): syscall; poll(2), select(2).

A client with a timeout is rarely in recv: it is in poll, on one descriptor.  The arguments of the
call point to the descriptor in the memory of the process.
"""

from __future__ import annotations

import os
import platform
import select
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path

from xctl_probe.linux import procfs, wchan
from xctl_probe.linux.epoll_fdinfo import entries

# Either of two bits asks for data, or for room; poll(2) and epoll(7) have the same.
TO_READ = select.POLLIN | select.POLLRDNORM
TO_WRITE = select.POLLOUT | select.POLLWRNORM


class Role(StrEnum):
    """Kind of a system call, by its use of descriptors."""

    RECEIVE = "receive"
    SEND = "send"
    CONNECT = "connect"
    ACCEPT = "accept"
    POLL = "poll"  # poll and select: the arguments list the descriptors
    EPOLL = "epoll"  # the interest list of the instance has the descriptors
    MOVE = "move"  # splice and the like: from one descriptor to another; either may wait
    CLOSE = "close"  # the descriptor is gone; waits with SO_LINGER


@dataclass(frozen=True, slots=True)
class Watched:
    """Descriptor that a call waits for: until it is readable, writable, or both.

    Neither: for urgent data or the end of the connection only.  `inode`: what an event loop has
    registered, whose descriptor may be another file since (0: as the descriptor is now).
    """

    fd: int
    reads: bool
    writes: bool
    inode: int = field(default=0, compare=False)

    @property
    def is_for_neither(self) -> bool:
        """True where neither data nor room is waited for."""
        return not (self.reads or self.writes)


@dataclass(frozen=True, slots=True)
class Call:
    """System call of a thread, and the descriptors it waits for.

    `gives_up`: a poll or select with a timeout.  `cut`: one with more descriptors than are read.
    """

    name: str
    role: Role
    watched: tuple[Watched, ...]
    gives_up: bool = False
    cut: bool = False


# Numbers from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
_NUMBERS: dict[str, dict[int, tuple[str, Role]]] = {
    "x86_64": {
        0: ("read", Role.RECEIVE), 19: ("readv", Role.RECEIVE), 45: ("recvfrom", Role.RECEIVE),
        47: ("recvmsg", Role.RECEIVE), 299: ("recvmmsg", Role.RECEIVE),
        17: ("pread64", Role.RECEIVE), 295: ("preadv", Role.RECEIVE),
        327: ("preadv2", Role.RECEIVE),
        1: ("write", Role.SEND), 20: ("writev", Role.SEND), 40: ("sendfile", Role.SEND),
        44: ("sendto", Role.SEND), 46: ("sendmsg", Role.SEND), 307: ("sendmmsg", Role.SEND),
        18: ("pwrite64", Role.SEND), 296: ("pwritev", Role.SEND), 328: ("pwritev2", Role.SEND),
        74: ("fsync", Role.SEND), 75: ("fdatasync", Role.SEND), 278: ("vmsplice", Role.SEND),
        275: ("splice", Role.MOVE), 276: ("tee", Role.MOVE), 326: ("copy_file_range", Role.MOVE),
        42: ("connect", Role.CONNECT), 3: ("close", Role.CLOSE),
        43: ("accept", Role.ACCEPT), 288: ("accept4", Role.ACCEPT),
        7: ("poll", Role.POLL), 271: ("ppoll", Role.POLL),
        23: ("select", Role.POLL), 270: ("pselect6", Role.POLL),
        232: ("epoll_wait", Role.EPOLL), 281: ("epoll_pwait", Role.EPOLL),
        441: ("epoll_pwait2", Role.EPOLL),
    },
    "aarch64": {
        63: ("read", Role.RECEIVE), 65: ("readv", Role.RECEIVE), 207: ("recvfrom", Role.RECEIVE),
        212: ("recvmsg", Role.RECEIVE), 243: ("recvmmsg", Role.RECEIVE),
        67: ("pread64", Role.RECEIVE), 69: ("preadv", Role.RECEIVE),
        286: ("preadv2", Role.RECEIVE),
        64: ("write", Role.SEND), 66: ("writev", Role.SEND), 71: ("sendfile", Role.SEND),
        206: ("sendto", Role.SEND), 211: ("sendmsg", Role.SEND), 269: ("sendmmsg", Role.SEND),
        68: ("pwrite64", Role.SEND), 70: ("pwritev", Role.SEND), 287: ("pwritev2", Role.SEND),
        82: ("fsync", Role.SEND), 83: ("fdatasync", Role.SEND), 75: ("vmsplice", Role.SEND),
        76: ("splice", Role.MOVE), 77: ("tee", Role.MOVE), 285: ("copy_file_range", Role.MOVE),
        203: ("connect", Role.CONNECT), 57: ("close", Role.CLOSE),
        202: ("accept", Role.ACCEPT), 242: ("accept4", Role.ACCEPT),
        73: ("ppoll", Role.POLL), 72: ("pselect6", Role.POLL),
        22: ("epoll_pwait", Role.EPOLL), 441: ("epoll_pwait2", Role.EPOLL),
    },
}  # fmt: skip

# Of those that move data: the argument that has the descriptor written to.
_TO_AT = {"splice": 2, "tee": 1, "copy_file_range": 2}
# nanosleep and clock_nanosleep
_SLEEPS = {"x86_64": (35, 230), "aarch64": (101, 115)}
# futex and futex_waitv
_LOCKS = {"x86_64": ("202", "449"), "aarch64": ("98", "449")}
# restart_syscall, and what it may go on with: a select or ppoll begins anew
_RESTART = {"x86_64": "219", "aarch64": "128"}
_RESUMED = {
    "x86_64": ((wchan.POLL, "7"), (wchan.SLEEP, "35")),
    "aarch64": ((wchan.SLEEP, "101"),),
}
_DIRECTIONS = {
    Role.RECEIVE: (True, False),
    Role.SEND: (False, True),
    Role.CONNECT: (False, True),
    Role.ACCEPT: (True, False),
    Role.CLOSE: (False, True),
}
_TIMEOUT_AT = {
    "poll": 2, "ppoll": 2, "select": 4, "pselect6": 4,
    "epoll_wait": 3, "epoll_pwait": 3, "epoll_pwait2": 3,
}  # fmt: skip
_MILLISECONDS = ("poll", "epoll_wait", "epoll_pwait")
_NEGATIVE = 1 << 31  # sign of an int; the upper half of the register is undefined
_POLLFD = struct.Struct("=iHH")
_AUXV_PAIR, _AUXV_BYTES = struct.Struct("=QQ"), 1 << 12
_WORD = (1 << 32) - 1  # the largest of 32 bits
MOST_FDS = 4096  # of one poll or select; more are not read
_MOST_NESTED = 16  # nested epoll descriptors
_MOST_LINKS = 64  # descriptors tested for that

ReadMemory = Callable[[int, int], bytes]


def call_of(
    syscall: str, pid: int, proc: Path = Path("/proc"), machine: str = platform.machine()
) -> Call | None:
    """Decode a line of /proc/<pid>/syscall; None for a call that waits for no descriptor."""
    known = parsed(syscall, machine)
    if known is None:
        return None
    name, role, arguments = known
    fd = arguments[0] & _WORD
    if role is Role.POLL:
        watched = polled(name, arguments, pid, proc)
        nested = epolls_among(pid, (w.fd for w in watched if w.reads), proc)
        inner = (w for epoll in nested for w in epoll_watches(pid, epoll, proc))
        cut = is_cut(name, arguments)
        return Call(name, role, (*watched, *inner), _gives_up(name, arguments), cut)
    if role is Role.EPOLL:
        return Call(name, role, epoll_watches(pid, fd, proc), _gives_up(name, arguments))
    if role is Role.MOVE:
        both = Watched(fd, True, False), Watched(moved_to(name, arguments), False, True)
        return Call(name, role, both)
    return Call(name, role, (Watched(fd, *_DIRECTIONS[role]),))


def moved_to(name: str, arguments: list[int]) -> int:
    """Return the descriptor that such a call writes to; the one that it reads from is the first."""
    return arguments[_TO_AT[name]] & _WORD


def _gives_up(name: str, arguments: list[int]) -> bool:
    """True with a timeout: ms (negative: none) or address of a timespec, timeval (0: none)."""
    timeout = arguments[_TIMEOUT_AT[name]]
    if name in _MILLISECONDS:
        return not timeout & _NEGATIVE
    return timeout != 0


def parsed(syscall: str, machine: str = platform.machine()) -> tuple[str, Role, list[int]] | None:
    """Return name, role and arguments of such a line; None if the call waits for no descriptor."""
    fields = syscall.split()
    try:
        number, arguments = int(fields[0]), [int(field, 16) for field in fields[1:7]]
    except (IndexError, ValueError):  # "running", or unreadable
        return None
    known = _NUMBERS.get(machine, {}).get(number)
    if known is None or len(arguments) < 6:  # noqa: PLR2004 - a call has six
        return None
    return *known, arguments


def resumed(syscall: str, function: str | Path, machine: str = platform.machine()) -> str:
    """Return such a line as of the call that goes on after a stop.

    A poll or a sleep that is stopped and continued becomes restart_syscall(2), with the same
    arguments.  `function`, the file `wchan` of the thread, shows which it was.
    """
    number, _, arguments = syscall.partition(" ")
    if number != _RESTART.get(machine):
        return syscall
    name = procfs.word(function)
    found = (call for functions, call in _RESUMED[machine] if name.startswith(functions))
    return f"{next(found, number)} {arguments}"


def has_other_calls(pid: int, proc: Path = Path("/proc")) -> bool:
    """Return whether it is a 32-bit program on a 64-bit kernel: its calls have other numbers.

    `pid` is the thread whose folder shows the memory.  proc(5), auxv: pairs of words.  Of words of
    32 bits, the upper half of what would be the key has a value.
    """
    # Not the head of `exe`, which may be on a file system that hangs.
    raw = procfs.read_once(proc / str(pid) / "auxv", _AUXV_BYTES)
    whole = raw[: len(raw) - len(raw) % _AUXV_PAIR.size]
    return sys.maxsize > _WORD and any(key > _WORD for key, _ in _AUXV_PAIR.iter_unpack(whole))


def is_sleep(syscall: str, machine: str = platform.machine()) -> bool:
    """Return whether such a line is a sleep for a time."""
    number = syscall.partition(" ")[0]
    return number.isdigit() and int(number) in _SLEEPS.get(machine, ())


def is_elsewhere(syscall: str, machine: str = platform.machine()) -> bool:
    """Return whether such a line is a wait on no descriptor, which many threads are in.

    That is a sleep, or a wait for a lock or another thread.
    """
    number = syscall.partition(" ")[0]
    return number in _LOCKS.get(machine, ()) or is_sleep(syscall, machine)


def role_of(number: int, machine: str = platform.machine()) -> Role | None:
    """Return the role of the call with this number; None if it waits for no descriptor."""
    known = _NUMBERS.get(machine, {}).get(number)
    return known[1] if known else None


def polled(
    name: str, arguments: list[int], pid: int, proc: Path = Path("/proc")
) -> tuple[Watched, ...]:
    """Return the descriptors of a poll or select of `pid`; empty where its memory is unreadable."""

    def memory(address: int, size: int) -> bytes:
        return procfs.read_memory(proc / str(pid) / "mem", address, size)

    return (_polled if name.endswith("poll") else _selected)(arguments, memory)


def is_cut(name: str, arguments: list[int]) -> bool:
    """Return whether a poll or select has more descriptors than `polled` reads."""
    count = arguments[1 if name.endswith("poll") else 0]
    return count & _WORD > MOST_FDS


def epoll_watches(pid: int, fd: int, proc: Path = Path("/proc")) -> tuple[Watched, ...]:
    """Return the interest list of an epoll descriptor, with those of nested ones.

    Edge-triggered entries always include writability, so it is no evidence and left out.  Where a
    descriptor was closed and its socket has another one, the inode shows which.
    """
    found: list[Watched] = []
    waiting, seen = [fd], {fd}
    while waiting:
        members = _entries(pid, waiting.pop(), proc)
        found += members
        inner = (w.fd for w in members if w.inode == anonymous_inode() and w.reads)
        for nested in epolls_among(pid, inner, proc):
            if nested not in seen and len(seen) <= _MOST_NESTED:
                seen.add(nested)
                waiting.append(nested)
    return tuple(found)


def epolls_among(pid: int, fds: Iterable[int], proc: Path = Path("/proc")) -> list[int]:
    """Return the epoll descriptors among the first few of `fds`."""
    folder = proc / str(pid) / "fd"
    found = [fd for fd in islice(fds, _MOST_LINKS) if procfs.link(folder / str(fd)) == procfs.EPOLL]
    return found[:_MOST_NESTED]


@cache
def anonymous_inode() -> int:
    """Return the inode that epoll shares with eventfd, timerfd and others; 0: unknown."""
    try:
        with select.epoll() as one:
            return os.fstat(one.fileno()).st_ino
    except OSError:
        return 0


def _entries(pid: int, fd: int, proc: Path) -> list[Watched]:
    """Return the interest list of one epoll descriptor."""
    text = procfs.read(proc / str(pid) / "fdinfo" / str(fd), sys.maxsize)
    found = []
    for target, events, inode in entries(text):
        writes = bool(events & TO_WRITE) and not events & select.EPOLLET
        found.append(Watched(target, bool(events & TO_READ), writes, inode))
    return found


def _polled(arguments: list[int], memory: ReadMemory) -> tuple[Watched, ...]:
    """poll(struct pollfd *fds, nfds_t nfds, ...)."""
    raw = memory(arguments[0], min(arguments[1] & _WORD, MOST_FDS) * _POLLFD.size)
    whole = raw[: len(raw) - len(raw) % _POLLFD.size]
    return tuple(
        Watched(fd, bool(events & TO_READ), bool(events & TO_WRITE))
        for fd, events, _ in _POLLFD.iter_unpack(whole)
        if fd >= 0
    )


def _selected(arguments: list[int], memory: ReadMemory) -> tuple[Watched, ...]:
    """select(int nfds, fd_set *readfds, fd_set *writefds, fd_set *exceptfds, ...)."""
    count = min(arguments[0] & _WORD, MOST_FDS)
    size = (count + 7) // 8
    reads, writes, urgent = (
        int.from_bytes(memory(address, size) if address else b"", "little")
        for address in arguments[1:4]
    )
    return tuple(
        Watched(fd, bool(reads >> fd & 1), bool(writes >> fd & 1))
        for fd in range(count)
        if (reads | writes | urgent) >> fd & 1
    )
