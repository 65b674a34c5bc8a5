"""Which one socket of a process a thread can sleep in, on a real process of our own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from support.peer import Peer

from xctl_probe.linux.sole_socket import sole_stream_socket


@pytest.fixture
def holder():
    """Start a process that holds these, by name: its pid, and the inode of the last one."""
    with ExitStack() as stack:

        def start(*names):
            one = stack.enter_context(Peer("descriptors.holds", *names))
            return one.pid, one.first

        yield start


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
    """As one that may not be read."""
    assert sole_stream_socket(2**22 + 1) is None
