"""gRPC: unary calls, a steady stream, an upload, and a channel without calls."""

from __future__ import annotations

from typing import ClassVar

from evaluation.process import Process
from evaluation.programs.service import SERVER, Service
from evaluation.truth import RECEIVE, SEND, Truth, Wait

STOPPED = ("stop", "compute", "sleep", "deadlock", "break")
WINDOW = frozenset({"peer_window", "no_reply", "send_buffer"})


class Grpc(Service):
    """gRPC by grpcio: unary calls, a steady stream, an upload, a channel without calls.

    `upload` may be reported: what it waits for is a window update.
    """

    name = "grpc"
    needs = "grpcio of PyPI"
    asking = ("unary", "aio")
    loading = ("stream",)
    faults: ClassVar = {
        "one": (
            "stop", "none", "lose", "idle", "compute", "slow", "break", "none", "sleep", "drop",
            "deadlock", "kill",
        ),
        "several": (
            "stop", "none", "lose", "idle", "break", "slow", "drop", "none", "compute", "sleep",
            "deadlock", "kill",
        ),
    }  # fmt: skip

    @classmethod
    def missing(cls) -> str:
        return cls.module("grpc")

    def serve(self) -> Process:
        server = self.library(SERVER, 0, "grpc_server.py", self.room.address(0), self.port)
        server.wait_for(lambda event: event.get("ready"))
        return server

    def start(self) -> None:
        super().start()
        for name in ("upload", "spare"):
            self.ask(name)

    def ask(self, name: str) -> None:
        self.library(name, 1, "grpc_client.py", name, self.room.address(0), self.port, name)

    def truth(self, fault: str, target: str) -> Truth:
        truth = super().truth(fault, target)
        if fault not in (*STOPPED, "drop"):
            return truth
        causes = WINDOW | {None, "loss"}
        upload = Wait("upload", frozenset({SERVER}), frozenset({SEND, RECEIVE}), causes)
        return Truth(truth.must, (*truth.may, upload), truth.culprits)
