"""A server and its clients, each its own process: the truth that they share."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.process import JobError, Process
from evaluation.programs.base import Program
from evaluation.truth import CONNECT, NOTHING, RECEIVE, SEND, Truth, Wait

SERVER = "server"
LISTENS_S = 30.0
REPLY = frozenset({"no_reply"})
# In mid-transfer nothing is asked: that the peer is silent is all there is to report.
SILENT = frozenset({"no_reply", None})
LOST = frozenset({"loss", "connecting", None})


class Service(Program):
    """A server on host 0 and clients on host 1.

    `asking` clients send a request and wait for the reply, `loading` ones receive a steady
    stream, `quiet` ones wait for what the server has when it has it: they must not be reported
    while the server works, and may be while it does not.
    """

    asking: ClassVar[tuple[str, ...]] = ()
    loading: ClassVar[tuple[str, ...]] = ()
    quiet: ClassVar[tuple[str, ...]] = ()
    awaited: ClassVar[str] = SERVER
    hosts = 2
    watched = (1,)

    @abstractmethod
    def serve(self) -> Process:
        """Start the server and wait until it listens."""

    @abstractmethod
    def ask(self, name: str) -> None:
        """Start the client of this name."""

    def wait_listens(self, server: Process) -> None:
        """Wait until a server that prints nothing listens."""
        listens = f"{self.room.address(0)}:{self.port}", "*"
        deadline = time.monotonic() + LISTENS_S
        while listens not in self.room.sockets():
            if time.monotonic() > deadline or server.dead:
                raise JobError(f"{server.name} does not listen: {server.story()}")
            time.sleep(0.1)

    def start(self) -> None:
        self.serve().port = self.port
        for name in (*self.asking, *self.loading, *self.quiet):
            self.ask(name)

    def workers(self) -> list[Process]:
        return [self.room.processes[name] for name in (*self.asking, *self.loading)]

    def revive(self, target: str) -> None:
        self.room.processes[target].end()
        self.serve().port = self.port
        self.wait_recovered()

    def targets(self, fault: str) -> list[str]:
        return list(self.asking) if fault == "lose" else [SERVER]

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        server = self.room.processes[SERVER]
        if fault == "idle":
            return _all_idle(self.workers(), seconds)
        if fault == "lose":
            since = len(server.events)
            server.order(f"lose {seconds:.3f} {target}")
            begun = server.wait_for(lambda e: e.get("fault") == "lose", since)
            return Applied(
                begun["at"], lambda: server.wait_for(lambda e: e.get("healed") == "lose", since)
            )
        return apply(fault, self.room, server, seconds)

    def truth(self, fault: str, target: str) -> Truth:
        served = frozenset({self.awaited})
        both = frozenset({RECEIVE, CONNECT})
        receive = frozenset({RECEIVE})
        quiet = tuple(Wait(one, served, both, SILENT | LOST) for one in self.quiet)
        if fault in ("stop", "compute", "sleep", "deadlock", "disk"):
            asks = (Wait(one, served, both, REPLY) for one in self.asking)
            loads = (Wait(one, served, receive, SILENT) for one in self.loading)
            return Truth(must=(*asks, *loads), may=quiet, culprits=served)
        if fault == "drop":
            asks = (Wait(one, served, both, LOST) for one in self.asking)
            loads = (Wait(one, served, both, SILENT | LOST) for one in self.loading)
            sends = Wait(SERVER, frozenset(), frozenset({SEND}), LOST)
            return Truth(must=(*asks, *loads), may=(*quiet, sends))
        if fault == "lose":
            return Truth(must=(Wait(target, served, both, REPLY),), culprits=served)
        if fault == "break":
            loads = (Wait(one, served, receive, SILENT) for one in self.loading)
            return Truth(must=tuple(loads), culprits=served)
        if fault == "kill":  # it is started again: its port accepts before it can reply
            clients = (*self.asking, *self.loading, *self.quiet)
            return Truth(may=tuple(Wait(one, served, both, SILENT | LOST) for one in clients))
        return NOTHING


def _all_idle(clients: list[Process], seconds: float) -> Applied:
    since = {one.name: len(one.events) for one in clients}
    for one in clients:
        one.order(f"idle {seconds:.3f}")
    begun = [one.wait_for(lambda e: e.get("fault") == "idle", since[one.name]) for one in clients]

    def heal() -> None:
        for one in clients:
            one.wait_for(lambda e: e.get("healed") == "idle", since[one.name])

    return Applied(max(event["at"] for event in begun), heal)
