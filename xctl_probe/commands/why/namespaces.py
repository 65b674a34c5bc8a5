"""Network namespaces of a process and of its sockets.

A socket stays in the namespace where it was created; its process may have changed its namespace, or
have received the socket from another process.  pidfd_getfd(2) duplicates the socket for a moment,
and SIOCGSKNS opens its namespace; both need root.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Thread
from typing import TypeVar

from xctl_probe.errors import ProbeError
from xctl_probe.linux.procfs import namespace_inode

_CLONE_NEWNET = 0x40000000
_PIDFD_GETFD = 438  # on every architecture
_SIOCGSKNS = 0x894C
_MOST_SOCKETS = 256  # whose namespace is requested
_MOST_NAMESPACES = 8
_Made = TypeVar("_Made")


def is_elsewhere(reader: int) -> bool:
    """True where the process is in another network namespace than this one; False: unknown."""
    try:
        return namespace_inode("net", "thread-self") != namespace_inode("net", reader)
    except OSError:
        return False


def enter(reader: int) -> bool:
    """Move this thread into the network namespace of the process; setns(2)."""
    try:
        fd = os.open(f"/proc/{reader}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _set(fd)
    finally:
        os.close(fd)


def inside(pid: int, make: Callable[[], _Made]) -> _Made | None:
    """Return what is made in the network namespace of a process; None where either is refused.

    A netlink socket stays in the namespace where it was created; the thread exits there.
    """
    found: list[_Made] = []

    def run() -> None:
        with suppress(OSError, ProbeError):
            if enter(pid):
                found.append(make())

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return found[0] if found else None


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Run the block in the namespace of a descriptor.  Raises OSError where refused."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _set(namespace):
            raise PermissionError("the network namespace may not be entered")
        try:
            yield
        finally:
            _set(home)
    finally:
        os.close(home)


@contextmanager
def namespaces_of(pid: int, fds: Iterable[int]) -> Iterator[list[int]]:
    """Yield descriptors of the namespaces of these sockets, without that of this thread."""
    found: dict[int, int] = {namespace_inode("net", "thread-self"): -1}
    try:
        with suppress(OSError):
            _collect(pid, fds, found)
        yield [fd for fd in found.values() if fd >= 0]
    finally:
        for fd in found.values():
            if fd >= 0:
                os.close(fd)


def _collect(pid: int, fds: Iterable[int], found: dict[int, int]) -> None:
    process = os.pidfd_open(pid)
    try:
        for fd in islice(fds, _MOST_SOCKETS):
            namespace = _namespace(process, fd)
            if namespace is None:
                continue
            inode = os.fstat(namespace).st_ino
            if inode in found or len(found) > _MOST_NAMESPACES:
                os.close(namespace)
            else:
                found[inode] = namespace
    finally:
        os.close(process)


def _namespace(process: int, fd: int) -> int | None:
    copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, fd, 0)
    if copy < 0:
        return None
    try:
        return fcntl.ioctl(copy, _SIOCGSKNS)
    except OSError:
        return None
    finally:
        os.close(copy)


def _set(fd: int) -> bool:
    return bool(ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) == 0)
