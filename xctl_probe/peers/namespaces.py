"""The ends of connections in a network namespace that a process lives in."""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress

from xctl_probe.peers.ends import Ends

_CLONE_NEWNET = 0x40000000


def ends_in(netns: int, pid: int) -> Ends | None:
    """Look up in the namespace with this inode, which `pid` is in.

    None where sock_diag is refused, or the namespace may not be entered; setns(2).
    """
    try:
        if os.stat("/proc/self/ns/net").st_ino == netns:
            return Ends()
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _ends_of(fd) if os.fstat(fd).st_ino == netns else None
    finally:
        os.close(fd)


def _ends_of(namespace: int) -> Ends | None:
    # A netlink socket stays in the namespace where it was made; this thread ends there.
    found: list[Ends] = []

    def make() -> None:
        setns = ctypes.CDLL(None, use_errno=True).setns
        with suppress(OSError):
            if setns(namespace, _CLONE_NEWNET) == 0:
                found.append(Ends())

    thread = threading.Thread(target=make)
    try:
        thread.start()
    except RuntimeError:  # no more threads: seen as where the namespace may not be entered
        return None
    thread.join()
    return found[0] if found else None
