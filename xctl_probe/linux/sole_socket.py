"""The one socket a process can be waiting on, where its threads' calls may not be read.

Yama's ptrace_scope (Ubuntu sets it) hides /proc/<pid>/syscall of one's own processes, and with
it the descriptor a thread waits on.  What is left is the kernel function it sleeps in, and
`wait_woken` is a stream's or a terminal's: with no terminal to read from and one stream socket,
it is that socket.
"""

from __future__ import annotations

import os
from pathlib import Path

# As sockfs names them (struct proto): who waits for these does not sleep in wait_woken.
_OTHERWISE = ("UDP", "UNIX", "NETLINK", "PACKET", "RAW", "PING")
_SOCKET = "socket:["
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console")
_OUTPUT = ("1", "2")  # what is written there is not read from


def sole_stream_socket(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Inode of the only socket in whose stream a thread can wait; None where that is open."""
    folder = f"{proc}/{pid}/fd"
    found: set[int] = set()
    try:
        for fd in os.listdir(folder):
            target = os.readlink(f"{folder}/{fd}")
            if target.startswith(_TERMINALS) and fd not in _OUTPUT:
                return None
            if target.startswith(_SOCKET) and not _protocol(f"{folder}/{fd}").startswith(
                _OTHERWISE
            ):
                found.add(int(target[len(_SOCKET) : -1]))
    except OSError:
        return None  # it closes descriptors just now, or is gone
    return found.pop() if len(found) == 1 else None


def _protocol(path: str) -> str:
    """The socket's protocol, as "TCPv6"; raises OSError."""
    return os.getxattr(path, "system.sockprotoname").rstrip(b"\0").decode("ascii", "replace")
