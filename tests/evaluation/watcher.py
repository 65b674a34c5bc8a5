"""The probe under evaluation, and its lines."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.namespace import USERS

from evaluation.process import JobError
from evaluation.room import Room

COMMAND = Path(__file__).parents[2] / ".venv/bin/xctl-probe-network"
SOURCES = {
    "kernel": ("root", ("--backend", "ebpf")),
    "sampler": ("unprivileged", ("--backend", "sampler")),
}
START_S = 30.0


def status_directory(room: Room, source: str, host: int) -> Path:
    """Where `blame`, as the user of a source, finds the probe of this source that runs there."""
    return room.folder / (f"status-{source}" if source == "kernel" else f"status-{source}-{host}")


def _make_directory(path: Path, user: str) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    if user in USERS:
        os.chown(path, USERS[user], USERS[user])


class Watcher:
    """The probe on one host of a room.  `drops` are its `transport.drop` records."""

    def __init__(
        self, room: Room, host: int, source: str, interval_s: float, more: Sequence[str] = ()
    ) -> None:
        user, options = SOURCES[source]
        directory = status_directory(room, source, host)
        _make_directory(directory, user)
        words = [
            *room.namespace(host).command(user),
            str(COMMAND),
            "--format",
            "ndjson",
            "--loopback",
            "--status-dir",
            str(directory),
        ]
        self.stderr = room.folder / f"probe-{source}-{host}.stderr"
        with self.stderr.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, "--interval", str(interval_s), *options, *more],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd="/tmp",
            )  # fmt: skip
        self.source, self.host = source, host
        self.drops: list[dict[str, Any]] = []
        self.lost = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Wait for the first line, so that what follows is observed from its beginning."""
        if not self._ready.wait(START_S):
            self.close()
            raise JobError(f"the probe does not start: {self.stderr.read_text()}")

    def _read(self) -> None:
        for line in self.process.stdout:
            record = json.loads(line)
            self._ready.set()
            if record["event_type"] == "transport.drop":
                record["came"] = time.time_ns() // 1_000_000
                self.drops.append(record)
            elif record["value"].startswith("PROBE_LOST"):
                self.lost += 1

    def forget_after(self, at_ms: int | None) -> None:
        """Drop the records from `at_ms` on; None: keep all."""
        self.drops = [one for one in self.drops if at_ms is None or one["ts"] < at_ms]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(10)
        self._thread.join(5)
        self.process.stdout.close()
