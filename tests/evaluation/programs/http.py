"""An HTTP server of Python's library and six clients, each its own process."""

from __future__ import annotations

from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.process import Process
from evaluation.programs.base import Program
from evaluation.truth import CONNECT, NOTHING, RECEIVE, SEND, Truth, Wait

CLIENTS = ("blocking", "polling", "loop", "fresh", "download", "loop-download")
ASKING = ("blocking", "polling", "loop", "fresh")
LOADING = ("download", "loop-download")
SERVER = frozenset({"server"})
REPLY = frozenset({"no_reply"})
# In mid-body nothing is asked: that the peer is silent is all there is to report.
SILENT = frozenset({"no_reply", None})
LOST = frozenset({"loss", "connecting", None})


class Http(Program):
    """Clients that sleep in recv, in poll and in epoll; downloads; a connection a request."""

    name = "http"
    kind = "threads"
    hosts = 2
    watched = (1,)
    faults: ClassVar = {
        "one": (
            "stop", "none", "lose", "idle", "compute", "slow", "break", "none", "sleep", "drop",
            "deadlock", "disk", "kill",
        ),
        "several": (
            "stop", "none", "lose", "idle", "break", "slow", "drop", "none", "compute", "sleep",
            "deadlock", "disk", "kill",
        ),
    }  # fmt: skip

    def start(self) -> None:
        self._serve()
        for kind in CLIENTS:
            self.python(kind, 1, "http_client.py", kind, self.room.address(0), self.port, kind)

    def _serve(self) -> None:
        server = self.python(
            "server", 0, "http_server.py", self.room.address(0), self.port, self.kind
        )
        server.port = self.port
        server.wait_for(lambda event: event.get("ready"))

    def workers(self) -> list[Process]:
        return [self.room.processes[name] for name in CLIENTS]

    def revive(self, target: str) -> None:
        self.room.processes[target].end()
        self._serve()
        self.wait_recovered()

    def targets(self, fault: str) -> list[str]:
        return list(ASKING) if fault == "lose" else list(LOADING) if fault == "none" else ["server"]

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        server = self.room.processes["server"]
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
        if fault in ("stop", "compute", "sleep", "deadlock", "disk"):
            return Truth(
                must=(*(_asks(one, REPLY) for one in ASKING), *map(_loads, LOADING)),
                culprits=SERVER,
            )
        if fault == "drop":
            may = Wait("server", frozenset(), frozenset({SEND}), LOST)
            must = (
                *(_asks(one, LOST) for one in ASKING),
                *(Wait(one, SERVER, frozenset({RECEIVE, CONNECT}), SILENT | LOST)
                  for one in LOADING),
            )  # fmt: skip
            return Truth(must=must, may=(may,))
        if fault == "lose":
            return Truth(must=(_asks(target, REPLY),), culprits=SERVER)
        if fault == "break":
            return Truth(must=tuple(map(_loads, LOADING)), culprits=SERVER)
        return NOTHING


def _asks(name: str, causes: frozenset[str | None]) -> Wait:
    return Wait(name, SERVER, frozenset({RECEIVE, CONNECT}), causes)


def _loads(name: str) -> Wait:
    return Wait(name, SERVER, frozenset({RECEIVE}), SILENT)


def _all_idle(clients: list[Process], seconds: float) -> Applied:
    since = {one.name: len(one.events) for one in clients}
    for one in clients:
        one.order(f"idle {seconds:.3f}")
    begun = [one.wait_for(lambda e: e.get("fault") == "idle", since[one.name]) for one in clients]

    def heal() -> None:
        for one in clients:
            one.wait_for(lambda e: e.get("healed") == "idle", since[one.name])

    return Applied(max(event["at"] for event in begun), heal)
