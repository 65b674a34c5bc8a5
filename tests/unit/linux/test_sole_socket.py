"""Which one socket of a process a thread can sleep in, on a real process of our own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xctl_probe.linux.sole_socket import sole_stream_socket

# Opens what its arguments say, prints the inode of the first and waits for its input to end.
HOLDER = """
import os, pty, socket, sys
makers = {
    "tcp": lambda: socket.socket(),
    "tcp6": lambda: socket.socket(socket.AF_INET6),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "tty": lambda: os.fdopen(os.dup(pty.openpty()[1])),
    "tty-out": lambda: os.dup2(pty.openpty()[1], 2) and os.closerange(4, 64),
}
held = [makers[name]() for name in sys.argv[1:]]
print(os.fstat(held[-1].fileno()).st_ino, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Start a process that holds these, by name; the last is the one whose inode it tells."""
    started = []

    def start(*names):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        return process.pid, int(process.stdout.readline())

    yield start
    for process in started:
        process.communicate(timeout=10)


@pytest.mark.parametrize(
    "names",
    [("tcp",), ("tcp6",), ("unix", "udp", "netlink", "tcp"), ("tty-out", "tcp")],
    ids="+".join,
)
def test_one_stream_among_others_is_it(holder, names):
    """Datagrams, local and netlink sockets are waited for elsewhere; output is not read."""
    pid, inode = holder(*names)
    assert sole_stream_socket(pid) == inode


@pytest.mark.parametrize("names", [("tcp", "tcp6"), ("tty", "tcp"), ("unix",)], ids="+".join)
def test_where_it_is_open_nothing_is_shown(holder, names):
    """Two streams, a terminal that may be read from, or none at all."""
    pid, _ = holder(*names)
    assert sole_stream_socket(pid) is None


def test_a_process_that_is_gone_has_none(holder):
    """As one that may not be looked into."""
    assert sole_stream_socket(2**22 + 1) is None
