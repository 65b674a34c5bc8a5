"""The directory of a recording, and what may be trusted in it.

It is opened once.  Files are reached through that descriptor and no symbolic link is followed, so
that what another user puts there, or in its place, is neither written nor read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import NamedTuple

from xctl_probe.errors import UsageError

# The number orders the files, whatever the clock did; the time (UTC) is for people.
_NAME = re.compile(r"records-([0-9]{8,})-[0-9]{8}T[0-9]{6}Z\.ndjson\.gz")
_LOCK = ".lock"  # `zcat DIR/*` leaves it out
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE = _OPEN | os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_READ_BYTES = 64 << 20  # of one file; the writer begins another one long before


class File(NamedTuple):
    """A file of a recording; `written_ms` is the time of its last record (Unix epoch)."""

    name: str
    number: int
    size: int
    written_ms: int


def open_to_write(path: Path) -> int:
    """Return a descriptor of the directory, which is made where it is missing.

    Raises UsageError where it is not ours alone, OSError where the system refuses.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise UsageError(f"--record {path}: {path.parent} does not exist; make it first") from None
    fd = _open(path, "--record")
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise UsageError(f"--record {path}: it belongs to another user; name one of your own")
        if status.st_mode & _OTHERS_WRITE:
            raise UsageError(f"--record {path}: other users may write there; chmod go-w {path}")
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_to_read(path: Path) -> int:
    """Return a descriptor of the directory.

    Raises UsageError where there is none, or where it belongs to another user; root reads all.
    """
    fd = _open(path, "recording")
    if os.geteuid() not in (0, os.fstat(fd).st_uid):
        os.close(fd)
        raise UsageError(
            f"--record {path}: it belongs to another user; run as that user or as root"
        )
    return fd


def _open(path: Path, what: str) -> int:
    try:
        return os.open(path, _OPEN | os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            text = "not a directory, or a symbolic link; name the directory itself"
        else:
            text = f"{error.strerror}; name a directory that you may read"
        raise UsageError(f"{what} {path}: {text}") from None


def lock(directory: int, path: Path) -> int:
    """Return a descriptor that locks the directory for this process.

    Raises UsageError where another process has the lock.  It is a lock of fcntl(2): the kernel
    releases it with the process, and a child does not inherit it.
    """
    fd = os.open(_LOCK, _OPEN | os.O_RDWR | os.O_CREAT, 0o600, dir_fd=directory)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        raise UsageError(
            f"--record {path}: another probe records there; name another directory"
        ) from None
    except OSError:
        os.close(fd)
        raise
    return fd


def create(directory: int, number: int) -> tuple[int, str]:
    """Return a new file, open for writing, and its name.  Raises OSError."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"records-{number:08}-{when}.ndjson.gz"
    return os.open(name, _CREATE, 0o600, dir_fd=directory), name


def remove(directory: int, name: str) -> None:
    """Remove a file, which may be gone already.  Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def files(directory: int) -> list[File]:
    """Return the files of the recording in the order of writing; not those of other users."""
    owner = os.fstat(directory).st_uid
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            known = _NAME.fullmatch(entry.name)
            if known is None:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_uid == owner:
                written_ms = status.st_mtime_ns // 1_000_000
                found.append(File(entry.name, int(known[1]), status.st_size, written_ms))
    return sorted(found, key=lambda file: file.number)


def read(directory: int, name: str) -> bytes:
    """Return the content of a file; empty where it is gone or no plain file.  Raises OSError."""
    try:
        # O_NONBLOCK: a fifo in its place does not hold the reader up.
        fd = os.open(name, _OPEN | os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return b""
        raise
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        return file.read(_MOST_READ_BYTES)
