"""Processes that are easily misread: no first thread any more, frozen, an epoll in an epoll."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from support.cgroup import frozen
from support.conversation import ANSWER, QUESTION, connected
from support.namespace import Namespace
from support.require import require

INTERVAL_S = 0.2


def assert_one_stall(running, inode, pid):
    """Of a reply, and of this process, until it has come."""
    running.wait_for(lambda consumer: consumer.stalls(inode=inode, ongoing=False))
    running.wait_for_intervals(2)
    *ongoing, ended = running.stop().stalls(inode=inode)
    assert ongoing
    assert not ended.ongoing
    for reported in (*ongoing, ended):
        assert reported.pid == pid
        assert (reported.net["direction"], reported.net["cause"]) == ("receive", "no_reply")


def stalls(inode):
    return lambda consumer: consumer.stalls(inode=inode, ongoing=True)


def test_a_client_whose_first_thread_has_ended_waits(probe, worker):
    """It is alive, and its sockets are its own."""
    server, client, identity = connected(worker, client_role="headless")
    inode = identity["inode"]
    running = probe(interval=INTERVAL_S)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(stalls(inode))
    server.ask("send", ANSWER)
    client.expect("ask")
    assert_one_stall(running, inode, client.pid)


def read_and_wait(probe, worker, role, *words):
    """A request that the server reads, and then waits for more; the probe that watches."""
    server, client, identity = connected(worker, role)
    inode = identity["inode"]
    running = probe(interval=INTERVAL_S)
    server.begin("recv", QUESTION)
    server.begin(*words)
    client.begin("ask", QUESTION, ANSWER)
    server.expect("recv")
    return running, server, client, inode


def test_a_server_whose_first_thread_has_ended_may_listen(probe, worker):
    """An expected wait."""
    running, _, _, inode = read_and_wait(probe, worker, "headless", "recv", QUESTION)
    running.wait_for_intervals(6)
    assert running.stop().stalls(inode=inode) == []


@pytest.mark.parametrize("how", ["poll", "epoll"])
def test_a_server_that_waits_in_an_epoll_in_an_epoll_listens(probe, worker, how):
    running, server, _, inode = read_and_wait(probe, worker, "waits", "wait_nested", how)
    server.expect("waiting")
    running.wait_for_intervals(6)
    assert running.stop().stalls(inode=inode) == []


@pytest.mark.parametrize("version", [2, 1])
def test_a_server_that_is_frozen_does_not_listen(probe, worker, version):
    """From then on its client waits, as for one that is stopped."""
    running, server, client, inode = read_and_wait(probe, worker, "blocking", "recv", QUESTION)
    running.wait_for_intervals(4)
    assert running.consumer.stalls(inode=inode) == []
    with frozen(server.pid, version):
        running.wait_for(stalls(inode))
    for reported in running.stop().stalls(inode=inode):
        assert reported.pid == client.pid
        assert (reported.net["direction"], reported.net["cause"]) == ("receive", "no_reply")


@pytest.fixture
def name_it() -> Iterator[Callable[[Namespace], None]]:
    """Give a namespace a name, as container tools do."""
    named: list[str] = []

    def attach(namespace: Namespace) -> None:
        require(os.geteuid() == 0, "only root can name a network namespace")
        name = f"xctl-test-{os.getpid()}-{len(named)}"
        subprocess.run(["ip", "netns", "attach", name, str(namespace.pid)], check=True)
        named.append(name)

    yield attach
    for name in named:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_socket_of_a_namespace_that_its_process_has_left(
    probe, worker, backend, make_netns, name_it
):
    """As haproxy's `namespace` does it; the peer that hangs is in there."""
    if not backend.sees("other_namespaces"):
        pytest.skip("declared: sockets of other network namespaces")
    there = make_netns()
    name_it(there)
    server, client = worker(namespace=there), worker("waits", user="root")
    port = server.ask("listen")["port"]
    inode = client.ask("connect_from", there.pid, port)["inode"]
    server.ask("accept")
    running = probe(interval=INTERVAL_S)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(stalls(inode))
    server.ask("send", ANSWER)
    client.expect("ask")
    assert_one_stall(running, inode, client.pid)
