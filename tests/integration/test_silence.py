"""What is idle is never reported as waiting: a false stall is a false root cause."""

from __future__ import annotations

import time

import pytest
from support.conversation import ANSWER, QUESTION

LINE = 7


class Scenes:
    """Pairs of workers, each brought into one state that resembles waiting and is not."""

    def __init__(self, worker):
        self._start = worker
        self._scene = ""
        self.servers = []
        self.scene_of = {}  # by pid
        self._since_ms = 0

    def play(self, scene, *details):
        """Set a scene up; what goes wrong in it has its name."""
        self._scene = " ".join(map(str, (scene, *details)))
        return getattr(self, scene)(*details)

    def begin(self, running):
        """From now on all is idle: on a busy host, requests of the scenes were answered late.

        A whole interval passes, so that what was over before has been reported.
        """
        running.wait_for_intervals(2)
        self._since_ms = time.time_ns() // 1_000_000

    def flagged(self, consumer, backend=None):
        """The scenes in which a process is reported to wait: there must be none."""
        stalls = [r for r in consumer.stalls() if r.ts > self._since_ms]
        if backend is not None and backend.sees("other_namespaces"):
            stalls = [r for r in stalls if r.pid in self.scene_of]  # others' tests may run
        return {self.scene_of.get(r.pid, str(r)) for r in stalls}

    def _worker(self, role="blocking"):
        started = self._start(role)
        self.scene_of[started.pid] = self._scene
        return started

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
        server.begin("accept")

    def keep_alive(self, client_role, reads=True):
        """Answered, and now both sockets wait for the next request.

        A client that `reads` notices a close, in recv or in epoll, as a pool does.
        """
        server, client = self.pair(client_role)
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
        server.ask("send", ANSWER)
        assert client.expect("ask")["bytes"] == ANSWER
        server.begin("recv", QUESTION)  # its thread is in recv, after it sent
        if reads:
            client.begin("recv", ANSWER)
        return client

    def log_sender(self, client_role, every_ms):
        """A line now and then, read by the server and never answered."""
        server, client = self.pair(client_role)
        server.begin("drain")
        client.begin("drip", LINE, every_ms, 1_000)

    def one_line(self, client_role):
        """One line that no process answers, from a process that then does something else."""
        server, client = self.pair(client_role)
        server.begin("drain")
        client.ask("send", LINE)

    def subscriber(self, client_role):
        """Subscribed, got data, and nothing is published any more."""
        server, client = self.pair(client_role)
        client.begin("ask", QUESTION, 1_009)
        server.ask("recv", QUESTION)
        server.ask("send", 1_009)
        client.expect("ask")
        client.begin("recv", 1_009)

    def greeted_by_no_server(self, client_role):
        """Connected, sent nothing, reads: it waits for whatever the server may push."""
        server, client = self.pair(client_role)
        client.begin("recv", LINE)
        server.begin("nap", 60_000)

    def sleeper(self):
        """Asleep, with an open connection whose last word was its own."""
        server, client = self.pair()
        client.ask("send", LINE)
        server.ask("recv", LINE)
        client.begin("nap", 60_000)

    def hung_up_on(self, client_role):
        """Answered, then closed by the server; the client's pool has not noticed yet."""
        client = self.keep_alive(client_role, reads=False)
        self.servers[-1].close()
        return client

    def datagram_server(self):
        server = self._worker()
        server.ask("bind")
        server.begin("recv_from", 1)


def everything_idle(worker):
    """All that is idle, and one client that an answer came to, ready to ask again."""
    scenes = Scenes(worker)
    scenes.play("idle_listener")
    scenes.play("keep_alive", "blocking")
    scenes.play("keep_alive", "evented")
    asking = scenes.play("keep_alive", "evented", False)
    for role in ("blocking", "evented"):
        for every_ms in (70, 330, 1_900):
            scenes.play("log_sender", role, every_ms)
        scenes.play("hung_up_on", role)
        scenes.play("one_line", role)
        scenes.play("subscriber", role)
        scenes.play("greeted_by_no_server", role)
    scenes.play("sleeper")
    scenes.play("datagram_server")
    return scenes, asking


@pytest.mark.timeout(400)  # with the installation of the probe
def test_no_process_idle_is_ever_flagged(probe, worker, backend):
    """Thirty intervals of everything idle give no stall at all; one real wait then does."""
    running = probe()
    scenes, asking = everything_idle(worker)
    scenes.begin(running)
    quiet_stderr = running.stderr
    running.wait_for_intervals(30)
    assert scenes.flagged(running.consumer, backend) == set()
    assert running.stderr == quiet_stderr  # nor does it fill a pipe that no process reads

    # The proof that this probe would have seen one: a request that is not answered.
    asking.begin("ask", QUESTION, ANSWER)
    running.wait_for(lambda consumer: consumer.stalls(pid=asking.pid))
    assert scenes.flagged(running.stop(), backend) == {"keep_alive evented False"}


def test_no_process_idle_is_flagged_by_proc_net_either(start_probe, worker):
    """The source that sees least has the most reason to be silent."""
    running = start_probe("--backend", "proc", "--no-sock-diag", "--loopback", "--interval", 0.2)
    running.wait_ready()
    scenes, _ = everything_idle(worker)
    scenes.begin(running)
    running.wait_for_intervals(30)
    assert scenes.flagged(running.stop()) == set()
