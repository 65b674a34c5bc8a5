"""Readers of /proc: small files, links, and what stat, status and the like hold.  proc(5).

A process may end at any moment, and may belong to another user.  `read` and `link` return an
empty value then; functions that raise OSError name that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xctl_probe.events import Process

PROC = Path("/proc")
MOST_BYTES = 1 << 20  # of one file
_PIECE_BYTES = 1 << 14
_LINE_BYTES = 256
_STAT_BYTES = 2048  # 52 numbers of 64 bits, and a name of 64 bytes
_SOCKET = "socket:["
EPOLL = "anon_inode:[eventpoll]"  # the target of the link of an epoll descriptor
IO_URING = "anon_inode:[io_uring]"
_FLAGS, _START_TIME = 6, 19  # fields 9 and 22, counted from the state on
_KERNEL_THREAD = 0x200000  # PF_KTHREAD, include/linux/sched.h
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h


def read(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """Return the first bytes of a file, `most` at the most; empty where it cannot be read."""
    return _opened(path, lambda fd: _read_whole(fd, most))


def read_once(path: str | Path, most: int = _LINE_BYTES) -> bytes:
    """Return what one read gives: all of a short file, which is half the cost of `read`."""
    return _opened(path, lambda fd: os.read(fd, most))


def read_memory(path: str | Path, address: int, size: int) -> bytes:
    """Read memory of another process (its `mem`); empty where ptrace would be refused."""
    return _opened(path, lambda fd: os.pread(fd, size, address))


def _opened(path: str | Path, reading: Callable[[int], bytes]) -> bytes:
    """Return what `reading` returns for the open file; empty where it is refused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return reading(fd)
    except (OSError, OverflowError):  # an address may be any number
        return b""
    finally:
        os.close(fd)


def _read_whole(fd: int, most: int) -> bytes:
    pieces = [os.read(fd, min(most, _PIECE_BYTES))]
    left = most - len(pieces[0])
    while pieces[-1] and left > 0:
        pieces.append(os.read(fd, min(left, _PIECE_BYTES)))
        left -= len(pieces[-1])
    return b"".join(pieces)


def text(path: str | Path) -> str:
    """Return a file as text, whose names may contain any bytes; empty where it cannot be read."""
    return read(path).decode("utf-8", "surrogateescape")


def word(path: str | Path) -> str:
    """Return a file as short as `wchan` and `syscall`; empty where it cannot be read."""
    return read_once(path).decode("ascii", "replace")


def link(path: str | Path) -> str:
    """Return the target of a link, empty where it cannot be read."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def owner(path: str | Path) -> int | None:
    """Return the user of a folder of a process, None where it is gone; of an unreadable one, 0."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def socket_inode(target: str) -> int | None:
    """Return the inode in the target of a descriptor's link; None where that is no socket."""
    return int(target[len(_SOCKET) : -1]) if target.startswith(_SOCKET) else None


def socket_protocol(path: str | Path) -> str:
    """Return the protocol of the socket behind a descriptor's link, as `TCPv6` (net/socket.c).

    Raises OSError.
    """
    return os.getxattr(path, "system.sockprotoname").rstrip(b"\0").decode("ascii", "replace")


class Stat(NamedTuple):
    """A stat file: the name, and the fields after it, from the state on."""

    comm: bytes
    fields: list[bytes]

    @property
    def state(self) -> str:
        """One letter."""
        return self.fields[0].decode("ascii", "replace")

    @property
    def cpu_ticks(self) -> tuple[int, int] | None:
        """Ticks on a CPU, in its own code and in system calls; None where the line is cut."""
        user, system = self.fields[11:12], self.fields[12:13]  # proc(5): 14 and 15, utime and stime
        if not user or not system or not (user[0].isdigit() and system[0].isdigit()):
            return None
        return int(user[0]), int(system[0])


def parse_stat(stat: bytes) -> Stat | None:
    """Return the name and the fields of a stat file; None where it has no state."""
    # The name may contain spaces and parentheses, so it is cut at the last ")".
    head, _, tail = stat.rpartition(b")")
    _, bracket, comm = head.partition(b"(")
    fields = tail.split()
    return Stat(comm, fields) if bracket and fields else None


def command(comm: bytes) -> str:
    """Return the name of a process or thread as text."""
    return comm.decode("utf-8", "backslashreplace")


def state(path: str | Path) -> str:
    """Return the state in a stat file, empty where the process or thread is gone."""
    stat = parse_stat(read(path))
    return stat.state if stat else ""


class SchedStat(NamedTuple):
    """A schedstat file (Documentation/scheduler/sched-stats.rst)."""

    ran_ns: int = 0  # on a processor
    queued_ns: int = 0  # runnable, without a processor
    slices: int = 0  # times that it was given a processor


def schedstat(path: str | Path) -> SchedStat:
    """Return a schedstat file; zeros where it is gone, or the kernel counts nothing."""
    words = read_once(path).split()
    return SchedStat(*map(int, words)) if len(words) == len(SchedStat._fields) else SchedStat()


def is_kernel_thread(pid: int | str, proc: Path = PROC) -> bool:
    """Return whether this is a thread of the kernel; False when it is gone."""
    stat = parse_stat(read(proc / str(pid) / "stat"))
    flags = stat.fields[_FLAGS] if stat and stat.fields[_FLAGS:] else b"0"
    return flags.isdigit() and bool(int(flags) & _KERNEL_THREAD)


def read_process(pid: int, proc: Path = PROC) -> Process | None:
    """Return name and start time of a process, None when it is gone."""
    return parse_process(pid, read_once(f"{proc}/{pid}/stat", _STAT_BYTES))


def parse_process(pid: int, text: bytes) -> Process | None:
    """Return the process of a stat file; None where that has no start time."""
    stat = parse_stat(text)
    if stat is None or not stat.fields[_START_TIME:] or not stat.fields[_START_TIME].isdigit():
        return None
    return Process(pid, int(stat.fields[_START_TIME]), command(stat.comm))


def parent_of(pid: int, proc: Path = PROC) -> int:
    """Return the pid of the parent, 0 where it is in another pid namespace or the process gone."""
    stat = parse_stat(read_once(f"{proc}/{pid}/stat", _STAT_BYTES))
    parent = stat.fields[1] if stat is not None and len(stat.fields) > 1 else b""
    return int(parent) if parent.isdigit() else 0


def status_field(status: bytes, name: str) -> bytes:
    """Return the value of a field of a status file, empty where there is none.

    The process name in the first line may contain any bytes but a newline.
    """
    _, _, rest = (b"\n" + status).partition(b"\n%b:" % name.encode())
    return rest.partition(b"\n")[0].strip()


def users(pid: int | str, proc: Path = PROC) -> list[int]:
    """Return the real, effective, saved and file-system user of a process; empty when it is gone.

    Unreadable processes show it, too.
    """
    words = status_field(read(proc / str(pid) / "status"), "Uid").split()
    return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def real_user(pid: int | str, proc: Path = PROC) -> int:
    """Return the real uid of a process, also of an unreadable one; -1 when it is gone."""
    found = users(pid, proc)
    return found[0] if found else -1


def effective_capabilities(status: bytes) -> int:
    """Return the effective capabilities of a status file as bits, 0 where the line is missing."""
    try:
        return int(status_field(status, "CapEff"), 16)
    except ValueError:
        return 0


def namespace_inode(kind: str, pid: int | str = "self", proc: Path = PROC) -> int:
    """Return the inode of a namespace (`net`, `pid`, `user`) of a process.  Raises OSError."""
    return os.stat(f"{proc}/{pid}/ns/{kind}").st_ino


def in_first_pid_namespace(proc: Path = PROC) -> bool:
    """True where this process sees all others of the host; False where that is not known."""
    try:
        return namespace_inode("pid", "self", proc) == _FIRST_PID_NAMESPACE
    except OSError:
        return False
