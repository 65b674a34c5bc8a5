"""Redis: lookups, a producer, a worker that waits for jobs (BLPOP), and a subscriber."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import suppress
from typing import ClassVar

from evaluation.faults import Applied, now_ms
from evaluation.process import JobError, Process
from evaluation.programs.service import SERVER, Service

BUSY = (
    "local over = tonumber(ARGV[1]); "
    "repeat local t = redis.call('TIME') until t[1] + t[2] / 1e6 > over"
)


class Redis(Service):
    """redis-server: lookups, a producer, a worker in BLPOP, a subscriber; by redis-py."""

    name = "redis"
    needs = "redis-server, and redis of PyPI"
    asking = ("get", "timeout", "produce")
    quiet = ("blpop", "subscribe")
    faults: ClassVar = {
        "one": ("stop", "none", "compute", "idle", "sleep", "none", "drop", "kill"),
        "several": ("stop", "none", "drop", "idle", "compute", "none", "sleep", "kill"),
    }

    @classmethod
    def missing(cls) -> str:
        if not shutil.which("redis-server") or not shutil.which("redis-cli"):
            return "apt-get install redis-server"
        return cls.module("redis")

    def serve(self) -> Process:
        server = self.room.spawn(
            SERVER, 0,
            [
                "redis-server", "--bind", self.room.address(0), "--port", self.port,
                "--save", "", "--protected-mode", "no", "--enable-debug-command", "yes",
                "--dir", "/tmp", "--appendonly", "no",
                "--lua-time-limit", "60000",  # then it answers that it is busy
            ],
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while self._client("PING").wait() != 0:
            if time.monotonic() > deadline or server.dead:
                raise JobError(f"redis-server does not answer: {server.story()}")
            time.sleep(0.1)
        return server

    def ask(self, name: str) -> None:
        self.library(name, 1, "redis_client.py", name, self.room.address(0), self.port, name)

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        if fault == "sleep":
            return self._keep(["DEBUG", "SLEEP", f"{seconds:.3f}"])
        if fault == "compute":
            return self._keep(["EVAL", BUSY, "0", f"{time.time() + seconds:.3f}"])
        return super().inject(fault, target, seconds)

    def _keep(self, words: list[str]) -> Applied:
        """A command that keeps the server's only thread from all others."""
        at, running = now_ms(), self._client(*words)

        def heal() -> None:
            with suppress(subprocess.TimeoutExpired):
                running.wait(30)

        return Applied(at, heal)

    def _client(self, *words: str) -> subprocess.Popen[bytes]:
        prefix = [*self.room.namespace(0).command(), "redis-cli", "-h", self.room.address(0)]
        return subprocess.Popen(
            [*prefix, "-p", str(self.port), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
