"""A /proc made of files, with the processes, threads and descriptors that a test wants; proc(5)."""

from __future__ import annotations

import struct
from pathlib import Path

EPOLL_HEAD = "pos:\t0\nflags:\t02\n"
# The auxiliary vector of a program: address of the vDSO, size of a page, end.
AUXV_32 = struct.pack("=6I", 33, 0xF7F8C000, 6, 4096, 0, 0)
AUXV_64 = struct.pack("=6Q", 33, 0x7F9934B35000, 6, 4096, 0, 0)


def stat_line(
    pid: int, comm: bytes = b"client", start: int = 7_001, flags: int = 0, parent: int = 1
) -> bytes:
    """The line of /proc/PID/stat; `start` in clock ticks since boot."""
    rest = b"0 " * 4 + b"%d " % flags + b"0 " * 11 + b"20"
    return b"%d (%s) S %d %s %d 0 0\n" % (pid, comm, parent, rest, start)


def epoll_line(fd: int, events: int, inode: int) -> str:
    """The line of fdinfo for one monitored descriptor."""
    return f"tfd: {fd:8d} events: {events:8x} data: {fd:16x}  pos:0 ino:{inode:x} sdev:8\n"


class FakeProcess:
    """The folder of one process below `root`; bytes or text of its files as they are given."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root, self.pid = root, pid
        self.path = root / str(pid)
        for folder in ("fd", "fdinfo", "task"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)

    def stat(
        self, comm: bytes = b"client", start: int = 7_001, flags: int = 0, parent: int = 1
    ) -> None:
        self.write("stat", stat_line(self.pid, comm, start, flags, parent))

    def link(self, fd: int, target: str) -> None:
        (self.path / f"fd/{fd}").symlink_to(target)

    def socket(self, fd: int, inode: int) -> None:
        self.link(fd, f"socket:[{inode}]")

    def epoll(self, fd: int, fdinfo: str | bytes | None) -> None:
        """Add an epoll instance; None: its fdinfo is not readable."""
        self.link(fd, "anon_inode:[eventpoll]")
        if fdinfo is not None:
            self.write(f"fdinfo/{fd}", fdinfo)

    def thread(
        self, tid: int, *, wchan: str | bytes | None = None, syscall: str | bytes | None = None
    ) -> None:
        """Add or change a thread; None: that file stays as it is, or missing."""
        (self.path / f"task/{tid}").mkdir(exist_ok=True)
        for name, content in (("wchan", wchan), ("syscall", syscall)):
            if content is not None:
                self.write(f"task/{tid}/{name}", content)

    def write(self, name: str, content: str | bytes) -> None:
        raw = content if isinstance(content, bytes) else content.encode()
        (self.path / name).write_bytes(raw)
