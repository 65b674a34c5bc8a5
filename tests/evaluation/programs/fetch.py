"""A broker like Kafka: fetches that take 500 ms as a rule, besides producers and heartbeats."""

from __future__ import annotations

from typing import ClassVar

from evaluation.process import Process
from evaluation.programs.service import SERVER, Service


class Fetch(Service):
    """A broker like Kafka: fetches of 500 ms, a producer, and heartbeats every 3 s."""

    name = "fetch"
    asking = ("fetch", "fetch-blocking", "produce", "heartbeat")
    faults: ClassVar = {
        "one": (
            "stop", "none", "lose", "idle", "compute", "none", "sleep", "drop", "deadlock", "kill",
        ),
        "several": (
            "stop", "none", "drop", "idle", "lose", "none", "compute", "sleep", "deadlock", "kill",
        ),
    }  # fmt: skip

    def serve(self) -> Process:
        server = self.python(SERVER, 0, "fetch_server.py", self.room.address(0), self.port)
        server.wait_for(lambda event: event.get("ready"))
        return server

    def ask(self, name: str) -> None:
        self.python(name, 1, "fetch_client.py", name, self.room.address(0), self.port, name)

    def targets(self, fault: str) -> list[str]:
        return ["fetch", "fetch-blocking", "produce"] if fault == "lose" else [SERVER]
