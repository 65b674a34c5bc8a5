"""Either end of a connection, found by its addresses: as any user, for IPv4, mapped and IPv6.

In another namespace as root, by way of a process that lives there.
"""

from __future__ import annotations

import os
import socket

import pytest
from support.require import require

from xctl_probe.events import Socket
from xctl_probe.linux.netns import socket_lookup_in
from xctl_probe.linux.socket_lookup import SocketLookup


@pytest.fixture
def lookup():
    found = SocketLookup()
    yield found
    found.close()


def connected(listen, connect):
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.create_server((listen, 0), family=family, dualstack_ipv6=listen == "::") as server:
        client = socket.create_connection((connect, server.getsockname()[1]))
        return client, server.accept()[0]


def described(sock):
    local, remote = sock.getsockname()[:2], sock.getpeername()[:2]
    return Socket(os.fstat(sock.fileno()).st_ino, 0, "tcp", *local, *remote)


@pytest.mark.parametrize(
    ("listen", "connect"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")]
)
def test_both_sockets_are_found(lookup, listen, connect):
    """What is unread there, not acknowledged here, and whose sockets they are."""
    client, server = connected(listen, connect)
    with client, server:
        here = described(client)
        assert lookup.local_socket(here).inode == here.inode
        elsewhere = lookup.peer_socket(here)
        assert (elsewhere.inode, elsewhere.unread_bytes) == (os.fstat(server.fileno()).st_ino, 0)
        client.sendall(bytes(23))
        assert lookup.peer_socket(here).unread_bytes == 23
        server.recv(7)
        assert lookup.peer_socket(here).unread_bytes == 16


def test_a_connection_that_is_gone_has_no_sockets_though_somebody_listens_there(lookup):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        here = Socket(7, 0, "tcp", "127.0.0.1", 1, "127.0.0.1", port)
        assert lookup.local_socket(here) is None
        assert lookup.peer_socket(here) is None


def test_a_connection_that_no_process_accepted_has_no_inode(lookup):
    """Its data is unread all the same."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(bytes(29))
        elsewhere = lookup.peer_socket(described(client))
        assert (elsewhere.inode, elsewhere.unread_bytes) == (0, 29)


def test_another_namespace_is_entered_by_way_of_a_process_in_it(lookup, worker, netns):
    """By no other; and what it took to enter is given back."""
    require(os.geteuid() == 0, "only root can enter a namespace")
    server, client = worker(), worker()
    reported = client.connect("127.0.0.1", server.ask("listen")["port"])
    peer_inode = server.ask("accept")["inode"]
    local, remote = (reported[end].split(":") for end in ("local", "remote"))
    there = Socket(reported["inode"], 0, "tcp", local[0], int(local[1]), remote[0], int(remote[1]))
    number = os.stat(f"/proc/{netns.pid}/ns/net").st_ino
    open_before = len(os.listdir("/proc/self/fd"))
    found = socket_lookup_in(number, client.pid)
    assert (found.local_socket(there).inode, found.peer_socket(there).inode) == (
        there.inode,
        peer_inode,
    )
    assert lookup.local_socket(there) is None
    found.close()
    assert socket_lookup_in(number, os.getpid()) is None
    assert socket_lookup_in(number, 0) is None
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_our_own_namespace_needs_no_process_to_lead_there(lookup):
    """Not even a process that we see."""
    client, server = connected("127.0.0.1", "127.0.0.1")
    with client, server:
        here = described(client)
        found = socket_lookup_in(os.stat("/proc/self/ns/net").st_ino, 0)
        assert found.local_socket(here) == lookup.local_socket(here)
        found.close()
