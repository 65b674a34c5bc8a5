"""What is idle is never told of as waiting: a false stall is a false root cause."""

from __future__ import annotations

import pytest

QUESTION, ANSWER, LINE = 23, 29, 7


class Scenes:
    """Pairs of workers, each brought into one state that looks like waiting and is not."""

    def __init__(self, worker):
        self._worker = worker
        self.servers = []

    def pair(self, client_role="blocking"):
        server, client = self._worker(), self._worker(client_role)
        port = server.ask("listen")["port"]
        client.connect("127.0.0.1", port)
        server.ask("accept")
        self.servers.append(server)
        return server, client

    def idle_listener(self):
        server = self._worker()
        server.ask("listen")
        server.tell("accept")

    def keep_alive(self, client_role, reads=True):
        """Answered, and now both ends wait for the next request.

        A client that `reads` notices a close, in recv or in epoll, as a pool does.
        """
        server, client = self.pair(client_role)
        client.tell("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
        server.ask("send", ANSWER)
        assert client.expect("ask")["bytes"] == ANSWER
        server.tell("recv", QUESTION)  # its thread is in recv, after it sent
        if reads:
            client.tell("recv", ANSWER)
        return client

    def log_sender(self, client_role, every_ms):
        """A line now and then, read by the server and never answered."""
        server, client = self.pair(client_role)
        server.tell("drain")
        client.tell("drip", LINE, every_ms, 1_000)

    def one_line(self, client_role):
        """One line that nobody answers, from a process that then does something else."""
        server, client = self.pair(client_role)
        server.tell("drain")
        client.ask("send", LINE)

    def subscriber(self, client_role):
        """Subscribed, got data, and nothing is published any more."""
        server, client = self.pair(client_role)
        client.tell("ask", QUESTION, 1_009)
        server.ask("recv", QUESTION)
        server.ask("send", 1_009)
        client.expect("ask")
        client.tell("recv", 1_009)

    def greeted_by_nobody(self, client_role):
        """Connected, sent nothing, reads: it waits for whatever the server may push."""
        server, client = self.pair(client_role)
        client.tell("recv", LINE)
        server.tell("nap", 60_000)

    def sleeper(self):
        """Asleep, with an open connection whose last word was its own."""
        server, client = self.pair()
        client.ask("send", LINE)
        server.ask("recv", LINE)
        client.tell("nap", 60_000)

    def hung_up_on(self, client_role):
        """Answered, then closed by the server; the client's pool has not noticed yet."""
        client = self.keep_alive(client_role, reads=False)
        self.servers[-1].close()
        return client

    def datagram_server(self):
        server = self._worker()
        server.ask("bind")
        server.tell("recv_from", 1)


def everything_idle(worker):
    """All that is idle, and one client that an answer came to, ready to ask again."""
    scenes = Scenes(worker)
    scenes.idle_listener()
    scenes.keep_alive("blocking")
    scenes.keep_alive("evented")
    asking = scenes.keep_alive("evented", reads=False)
    for role in ("blocking", "evented"):
        scenes.log_sender(role, every_ms=70)
        scenes.log_sender(role, every_ms=330)
        scenes.log_sender(role, every_ms=1_900)
        scenes.hung_up_on(role)
        scenes.one_line(role)
        scenes.subscriber(role)
        scenes.greeted_by_nobody(role)
    scenes.sleeper()
    scenes.datagram_server()
    return asking


@pytest.mark.timeout(180)
def test_nobody_idle_is_ever_flagged(probe, worker):
    """Thirty intervals of everything idle give no stall at all; one real wait then does."""
    running = probe()
    asking = everything_idle(worker)
    running.wait_for_intervals(1)
    quiet_stderr = running.stderr
    running.wait_for_intervals(30)
    assert running.consumer.stalls() == []
    assert running.consumer.graph.waits == set()
    assert running.stderr == quiet_stderr  # nor does it fill a pipe that nobody reads

    # The proof that this probe would have seen one: a request that is not answered.
    asking.tell("ask", QUESTION, ANSWER)
    running.wait_for(lambda consumer: consumer.stalls(pid=asking.pid))
    assert {r.pid for r in running.stop().stalls()} == {asking.pid}


def test_nobody_idle_is_flagged_by_proc_net_either(start_probe, worker):
    """The source that sees least has the most reason to be silent."""
    running = start_probe("--backend", "proc", "--no-sock-diag", "--loopback", "--interval", 0.2)
    running.wait_ready()
    everything_idle(worker)
    running.wait_for_intervals(30)
    assert running.stop().stalls() == []
