"""A probe under load: its output and its cost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from support.backends import Backend
from support.install import Installed
from support.namespace import Namespace, end, spawn

from soak.gauge import Gauge
from soak.tally import Tally

READY_S = 60.0


class Watched:
    """A running probe that reports everything, once an interval; its lines are added up."""

    def __init__(
        self, installed: Installed, namespace: Namespace, backend: Backend, interval_s: float
    ) -> None:
        self.backend = backend
        options = (*backend.options, "--loopback", "--min-bw", "0", "--interval", str(interval_s))
        words = [*namespace.command(backend.user), str(installed.command), *options]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("XCTL_")}
        self._process = spawn(words, env=clean)
        self.pid = self._process.pid
        self.tally = Tally()
        self.stderr = b""
        self.broken: Exception | None = None
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_records, self._read_stderr)
        ]
        for thread in self._threads:
            thread.start()
        self.wait_for(lambda tally: tally.intervals >= 1, READY_S)  # it watches
        self.gauge = Gauge(self.pid)

    def wait_for(self, predicate: Callable[[Tally], object], timeout: float) -> bool:
        """Wait until the predicate holds; false when it does not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not predicate(self.tally):
                assert self.broken is None, self.broken
                assert self._process.poll() is None, f"the probe ended: {self.stderr.decode()}"
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.5))
        return True

    def wait_intervals(self, count: int, timeout: float = 60.0) -> None:
        wanted = self.tally.intervals + count
        if not self.wait_for(lambda tally: tally.intervals >= wanted, timeout):
            raise AssertionError(f"no heartbeat: {self._state()}")

    def _state(self) -> str:
        """What is known of a probe that is silent."""
        threads = [
            f"{task.name} {(task / 'comm').read_text().strip()} in {(task / 'wchan').read_text()}"
            for task in Path(f"/proc/{self.pid}/task").iterdir()
        ]
        return (
            f"{self.tally.intervals} intervals, at most {self.tally.longest_interval_ms} ms long, "
            f"lost {dict(self.tally.lost)}, readers {[t.is_alive() for t in self._threads]}, "
            f"threads {threads}, stderr {self.stderr!r}"
        )

    def kill(self) -> None:
        """As by kill -9."""
        self.gauge.close()
        end(self._process)
        for thread in self._threads:
            thread.join(10)

    def _read_records(self) -> None:
        try:
            for line in self._process.stdout:
                with self._changed:
                    if line.endswith(b"\n"):
                        self._feed(line)
                    self._changed.notify_all()
        except ValueError:  # the pipe was closed with the probe
            return

    def _feed(self, line: bytes) -> None:
        try:
            self.tally.feed(line)
        except Exception as error:  # a silent reader would seem a silent probe
            self.broken = self.broken or error

    def _read_stderr(self) -> None:
        try:
            for line in self._process.stderr:
                self.stderr += line
        except ValueError:
            return
