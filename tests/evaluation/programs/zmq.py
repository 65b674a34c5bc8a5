"""ZeroMQ: requests, a push that reaches its high-water mark, and a subscriber."""

from __future__ import annotations

from typing import ClassVar

from evaluation.process import Process
from evaluation.programs.service import LOST, SERVER, Service
from evaluation.truth import SEND, Truth, Wait

FULL = frozenset({"peer_window"})


class Zmq(Service):
    """ZeroMQ: requests, a push that reaches its high-water mark, a subscriber."""

    name = "zeromq"
    needs = "pyzmq of PyPI"
    asking = ("request",)
    loading = ("push",)
    quiet = ("subscribe",)
    faults: ClassVar = {
        "one": ("stop", "none", "lose", "idle", "compute", "none", "sleep", "deadlock"),
        "several": ("stop", "none", "drop", "idle", "lose", "none", "compute", "sleep", "disk"),
    }

    @classmethod
    def missing(cls) -> str:
        return cls.module("zmq")

    def serve(self) -> Process:
        server = self.library(SERVER, 0, "zmq_server.py", self.room.address(0), self.port)
        server.wait_for(lambda event: event.get("ready"))
        return server

    def ask(self, name: str) -> None:
        self.library(name, 1, "zmq_client.py", name, self.room.address(0), self.port, name)

    def truth(self, fault: str, target: str) -> Truth:
        """As of any service, but what `push` waits for is to send."""
        truth = super().truth(fault, target)
        causes = LOST | {"send_buffer"} if fault == "drop" else FULL
        push = Wait("push", frozenset({SERVER}), frozenset({SEND}), causes)
        must = tuple(push if wait.who == "push" else wait for wait in truth.must)
        return Truth(must, truth.may, truth.culprits)
