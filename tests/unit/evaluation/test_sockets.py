"""The evaluation's own reader of sockets, on sockets of this process."""

from __future__ import annotations

import os
import socket

import pytest
from evaluation.sockets import held


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_both_sockets_of_a_connection_and_the_listener(family):
    loopback = "127.0.0.1" if family == socket.AF_INET else "::1"
    with (
        socket.create_server((loopback, 0), family=family) as listener,
        socket.create_connection(listener.getsockname()[:2]) as client,
        listener.accept()[0],
    ):
        name = "127.0.0.1" if family == socket.AF_INET else "[::1]"
        here = f"{name}:{client.getsockname()[1]}"
        there = f"{name}:{listener.getsockname()[1]}"
        found = held([os.getpid()], [os.getpid()])
        for pair in ((here, there), (there, here), (there, "*")):
            assert found[pair] == os.getpid()


def test_an_ipv4_address_of_an_ipv6_socket_is_one_of_ipv4():
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client,
        listener.accept()[0],
    ):
        here = f"127.0.0.1:{client.getsockname()[1]}"
        there = f"127.0.0.1:{listener.getsockname()[1]}"
        assert (there, here) in held([os.getpid()], [os.getpid()])


def test_a_process_that_is_gone_holds_nothing():
    assert held([2**22 + 1], [2**22 + 1]) == {}
