"""What goes wrong on a connection is reported with its process: refused, timed out, reset."""

from __future__ import annotations

import pytest

MOST_RESETS = 30


@pytest.fixture
def running(probe, backend):
    """A probe of a backend that can see such things."""
    if not backend.sees("connect_errors"):
        pytest.skip(f"{backend.name} cannot see errors of connects, and says so")
    return probe()


def test_refused_connects_are_errors_of_their_process(running, worker):
    """No process listens: each of seven attempts is one error on its own socket."""
    gone, client = worker(), worker()
    port = gone.ask("listen")["port"]
    gone.close()
    inodes = []
    for _ in range(7):
        client.begin("connect", "127.0.0.1", port)
        inodes.append(client.expect("connecting")["inode"])
        assert client.expect("connect")["error"] == "ECONNREFUSED"
    running.wait_for(lambda consumer: consumer.count("CONNECT_REFUSED", pid=client.pid) >= 7)
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert [consumer.count("CONNECT_REFUSED", inode=inode) for inode in inodes] == [1] * 7
    assert consumer.count("RESET", pid=client.pid) == 0  # its RST is the refusal


def test_a_connect_that_times_out_is_an_error_of_its_process(running, worker, netns):
    """No process answers: a stall while it lasts, and one error at its end."""
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    netns.drop_incoming(f"tcp dport {port}")
    client.begin("connect", "127.0.0.1", port, 1)  # one retry: 3 s in all
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "ETIMEDOUT"
    retries = netns.counted_packets() - 1  # the first SYN is none
    running.wait_for(lambda consumer: consumer.count("CONNECT_TIMEOUT", inode=inode))
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.count("CONNECT_TIMEOUT", inode=inode, pid=client.pid) == 1
    assert consumer.count("RETRANSMIT", inode=inode, pid=client.pid) == retries > 0
    assert consumer.stalls(inode=inode, ongoing=False)


def test_a_reset_before_anything_was_read_is_its_process_too(running, worker):
    """Accepted, and neither sent nor received on: not each kernel shows who has it.

    There its owner is searched for, in a budget that the resets of other tests have a part of.
    """
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    found = set()
    for _ in range(MOST_RESETS):
        client.connect("127.0.0.1", port)
        inode = server.ask("accept")["inode"]
        client.ask("reset")
        running.wait_for(lambda consumer, inode=inode: consumer.count("RESET", inode=inode))
        found |= {r.pid for r in running.consumer.errors(f"socket-{inode}")}
        if server.pid in found:
            break
        running.wait_for_intervals(1)
    assert found - {None} == {server.pid}


@pytest.mark.parametrize("victim", ["client", "server"])
def test_a_reset_connection_is_an_error_of_its_process(running, worker, victim):
    """The end that receives the RST has the error; the one that sent it has not."""
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    identities = {"client": client.connect("127.0.0.1", port), "server": server.ask("accept")}
    workers = {"client": client, "server": server}
    other = workers["server" if victim == "client" else "client"]
    workers[victim].begin("recv", 7)
    other.ask("reset")
    assert workers[victim].expect("recv")["error"] == "ECONNRESET"
    inode = identities[victim]["inode"]
    running.wait_for(lambda consumer: consumer.count("RESET", inode=inode))
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert consumer.count("RESET", pid=workers[victim].pid) == 1
    assert consumer.count("RESET", pid=other.pid) == 0
