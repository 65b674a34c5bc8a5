"""A ring of files: the oldest is removed before a new record would exceed the limits."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xctl_probe.recordings.directory import File, create, files, lock, open_to_write, remove
from xctl_probe.recordings.limits import Limits

_PARTS = 16  # files that a full ring has at least: the oldest part is removed at a time
_LARGEST_FILE_BYTES = 4 << 20
_ATTEMPTS = 2  # the second one where the file, or the directory, has been removed


class Ring:
    """Appends members to files, and removes the oldest files.

    `head` gives the member that each file begins with; it may be empty.  Raises UsageError where
    the directory is not ours alone, or another probe records there; OSError where the system
    refuses.
    """

    def __init__(self, path: Path, limits: Limits, head: Callable[[], bytes]) -> None:
        self._path = path
        self._limits = limits
        self._head = head
        self._file_bytes = min(limits.size_bytes // _PARTS, _LARGEST_FILE_BYTES)
        self._directory = self._lock = self._file = -1
        self._files: deque[File] = deque()  # the last one is written to while `_file` is open
        self._begun_ns = 0  # when it was begun, by the monotonic clock
        self._open()

    def append(self, member: bytes) -> None:
        """Write a member.  Raises OSError or UsageError where it is not written; not in part."""
        for _ in range(_ATTEMPTS):
            if self._directory < 0:
                self._open()
            if self._file >= 0 and self._is_full(len(member)):
                os.close(self._file)
                self._file = -1
            data = member if self._file >= 0 else self._head() + member
            self._make_room(len(data))
            if self._file < 0:
                self._begin_file()
            self._write(data)
            if os.fstat(self._file).st_nlink:
                return
            self.close()  # what was written has no name any more
        raise FileNotFoundError(errno.ENOENT, "the file was removed while it was written")

    def close(self) -> None:
        """Close the file, and give the lock back.  Safe to call twice."""
        for fd in (self._file, self._lock, self._directory):
            if fd >= 0:
                with suppress(OSError):  # a network file system may report a late error
                    os.close(fd)
        self._file = self._lock = self._directory = -1

    def _open(self) -> None:
        self._directory = open_to_write(self._path)
        try:
            self._lock = lock(self._directory, self._path)
            self._files = deque(files(self._directory))
        except BaseException:
            self.close()
            raise

    def _begin_file(self) -> None:
        try:
            self._create()
        except FileNotFoundError:  # the directory has been removed
            self.close()
            self._open()
            self._create()

    def _create(self) -> None:
        number = self._files[-1].number + 1 if self._files else 0
        self._file, name = create(self._directory, number)
        self._begun_ns = time.monotonic_ns()
        self._files.append(File(name, number, 0, _now_ms()))

    def _make_room(self, size: int) -> None:
        """Remove old files, but for the one that is open.  Raises OSError."""
        if size > self._limits.size_bytes:
            raise OSError(errno.EFBIG, "an interval is larger than the recording may be")
        too_old_ms = _now_ms() - self._limits.span_ms
        room = self._limits.size_bytes - sum(file.size for file in self._files) - size
        while len(self._files) > (self._file >= 0):
            oldest = self._files[0]
            if room >= 0 and oldest.written_ms >= too_old_ms:
                return
            remove(self._directory, oldest.name)
            self._files.popleft()
            room += oldest.size

    def _is_full(self, size: int) -> bool:
        age_ns = time.monotonic_ns() - self._begun_ns
        old = age_ns * _PARTS >= self._limits.span_ms * 1_000_000
        return old or self._files[-1].size + size > self._file_bytes

    def _write(self, member: bytes) -> None:
        current = self._files[-1]
        left = memoryview(member)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            self._cut(current)
            raise
        size = current.size + len(member)
        self._files[-1] = current._replace(size=size, written_ms=_now_ms())

    def _cut(self, file: File) -> None:
        """Undo a write in part: the next member follows a whole one, and no file is empty."""
        if file.size:
            os.ftruncate(self._file, file.size)
            return
        os.close(self._file)
        self._file = -1
        remove(self._directory, self._files.pop().name)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
