"""A process of a job: it prints JSON lines, and obeys orders on its stdin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

STEADY_S = 120.0
Event = dict[str, Any]


class JobError(RuntimeError):
    """A process of the job did not do what it was started for."""


class Process:
    """A started process.  `events` are its lines; lines that are no JSON objects are skipped.

    A workload prints `{"step": n}` for progress, `{"op": [begin, end]}` in ms since the epoch
    for an operation on the network that took 50 ms or longer, and `{"fault": name, "at": ms}`
    and `{"healed": name, "at": ms}` for orders.
    """

    def __init__(
        self,
        name: str,
        host: int,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.host = name, host
        self.log = folder / f"{name}.{time.time_ns()}.stderr"
        self._start(command, env)
        self.pid = self.process.pid
        self.events: list[Event] = []
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self, command: Sequence[str], env: Mapping[str, str] | None) -> None:
        clean = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                cwd="/tmp", env=clean | {"PYTHONUNBUFFERED": "1"} | dict(env or {}),
            )  # fmt: skip
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def _read(self) -> None:
        for line in self.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                with self._came:
                    self.events.append(event)
                    self._came.notify_all()

    def wait_for(self, found: Callable[[Event], Any], since: int = 0, s: float = STEADY_S) -> Event:
        """The first event from number `since` on for which `found` holds."""
        deadline = time.monotonic() + s
        with self._came:
            while True:
                for event in self.events[since:]:
                    if found(event):
                        return event
                if time.monotonic() > deadline or (self.dead and not self._reader.is_alive()):
                    raise JobError(f"{self.name}: not seen within {s} s; {self.story()}")
                self._came.wait(0.2)

    def story(self) -> str:
        errors = self.log.read_text(errors="replace")[-800:] if self.log.exists() else ""
        return f"exit code {self.process.poll()}, last {self.events[-2:]}, stderr: {errors}"

    @property
    def dead(self) -> bool:
        return self.process.poll() is not None

    @property
    def steps(self) -> int:
        return next((e["step"] for e in reversed(self.events) if "step" in e), 0)

    def order(self, words: str) -> None:
        self.stdin.write(words.encode() + b"\n")
        self.stdin.flush()

    def ops(self) -> list[tuple[int, int]]:
        """Begin and end of each long operation on the network, ms since the epoch."""
        return [tuple(event["op"]) for event in list(self.events) if "op" in event]

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(10)
        for pipe in (self.stdin, self.stdout):
            with suppress(OSError, ValueError):
                pipe.close()
