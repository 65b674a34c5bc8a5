"""The only socket that a process can wait on, where the calls of its threads may not be read.

Yama's ptrace_scope (set by Ubuntu) hides /proc/<pid>/syscall even of own processes, and with it the
descriptor that a thread waits on.  The kernel function that the thread sleeps in is still readable.
Streams and terminals wait in `wait_woken`: in a process with no terminal to read from and one
stream socket, the thread waits on that socket.
"""

from __future__ import annotations

import os
from pathlib import Path

from xctl_probe.linux.procfs import socket_inode, socket_protocol

# Names of sockfs (struct proto); a wait on these does not sleep in wait_woken.
_OTHERWISE = ("UDP", "UNIX", "NETLINK", "PACKET", "RAW", "PING")
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console")
_OUTPUT = ("1", "2")  # written, not read


def sole_stream_socket(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return the inode of the only stream socket that a thread can wait on, else None."""
    folder = f"{proc}/{pid}/fd"
    found: set[int] = set()
    try:
        for fd in os.listdir(folder):
            target = os.readlink(f"{folder}/{fd}")
            if target.startswith(_TERMINALS) and fd not in _OUTPUT:
                return None
            inode = socket_inode(target)
            if inode is None or socket_protocol(f"{folder}/{fd}").startswith(_OTHERWISE):
                continue
            found.add(inode)
    except OSError:
        return None  # it closes descriptors now, or has exited
    return found.pop() if len(found) == 1 else None
