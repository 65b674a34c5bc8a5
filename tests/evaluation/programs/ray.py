"""Ray: a driver that asks two actors in turn, on one node or on a node each."""

from __future__ import annotations

import json
import time
from typing import ClassVar

from evaluation.adopted import Adopted
from evaluation.faults import Applied, apply
from evaluation.process import JobError, Process
from evaluation.programs.base import LIBRARIES, WORKLOADS, Program
from evaluation.truth import NOTHING, RECEIVE, SEND, Truth, Wait

DRIVER, HEAD, ACTORS = "driver", "head", ("worker1", "worker2")
REPLY = frozenset({"no_reply", None})
LOST = frozenset({"loss", "no_reply", None})
BOTH = frozenset({RECEIVE, SEND})
JOINS_S = 30.0
STORE_BYTES = 80_000_000  # the least that Ray takes


class Ray(Program):
    """Ray: a driver that asks two actors in turn; on several hosts, each has a node of its own.

    Its own services may be reported to wait for the node or the actor with the fault.
    """

    name = "ray"
    needs = "ray of PyPI, which `make eval` does not install"
    hosts = 3
    watched = (0, 1, 2)
    faults: ClassVar = {
        "one": ("stop", "none", "compute", "idle", "sleep", "none"),
        "several": ("stop", "none", "compute", "idle", "sleep", "none"),
    }

    @classmethod
    def missing(cls) -> str:
        return f"{LIBRARIES} -m pip install ray" if cls.module("ray") else ""

    def start(self) -> None:
        several = self.room.layout == "several"
        for name in ACTORS:
            self.room.processes[name] = Adopted(name, ACTORS.index(name) + 1, self.room.folder)
        self._node(HEAD, 0, "--head", "--port", self.port, actors=() if several else ACTORS)
        for host, name in enumerate(ACTORS, 1) if several else ():
            head = f"{self.room.address(0)}:{self.port}"
            node = self._node(f"node{host}", host, "--address", head, actors=(name,))
            self._wait_joined(node, head)
        address = self.room.address(0)
        driver = self.library(
            DRIVER, 0, "ray_driver.py", address, self.port, address, self.room.folder
        )
        for name in ACTORS:
            self.room.processes[name].appear()
        driver.wait_for(lambda event: event.get("ready"))

    def _node(self, name: str, host: int, *options: object, actors: tuple[str, ...]) -> Process:
        words = [
            LIBRARIES.with_name("ray"), "start", *options, "--block", "--disable-usage-stats",
            "--node-ip-address", self.room.address(host), "--num-cpus", 2,
            "--object-store-memory", STORE_BYTES,
            "--resources", json.dumps(dict.fromkeys(actors, 1)),
        ]  # fmt: skip
        if name == HEAD:
            words += ["--include-dashboard", "false", "--temp-dir", f"/tmp/ray-{self.port}"]
        return self.room.spawn(name, host, words, env={"PYTHONPATH": str(WORKLOADS)})

    def _wait_joined(self, node: Process, head: str) -> None:
        """Wait until a node has connected to the head: of two at once, one may give up."""
        deadline = time.monotonic() + JOINS_S
        while True:
            names, sockets = self.room.names_by_pid(), self.room.sockets()
            if any(to == head and names[pid] == node.name for (_, to), pid in sockets.items()):
                return
            if time.monotonic() > deadline or node.dead:
                raise JobError(f"{node.name} does not join: {node.story()}")
            time.sleep(0.2)

    def workers(self) -> list[Process]:
        return [self.room.processes[DRIVER]]

    def targets(self, fault: str) -> list[str]:
        return [DRIVER] if fault == "idle" else list(ACTORS)

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        return apply(fault, self.room, self.room.processes[target], seconds)

    def truth(self, fault: str, target: str) -> Truth:
        if fault in ("none", "idle"):
            return NOTHING
        driver = Wait(DRIVER, frozenset({target}), BOTH, REPLY)
        services = tuple(
            Wait(name, frozenset(), BOTH, LOST)
            for name in self.room.processes
            if name not in (DRIVER, *ACTORS)
        )
        return Truth((driver,), services, frozenset({target}))
