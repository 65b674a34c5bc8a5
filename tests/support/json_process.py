"""A child process that answers lines on its stdin with lines of JSON on its stdout."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Sequence
from typing import Any

from support.namespace import end, spawn


class JsonProcess:
    """A running program of tests/workloads."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.process = spawn(command, **options)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, line: str = "") -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def receive(self, timeout: float | None = None) -> Any:
        """The next value; an AssertionError with its stderr where the program has ended."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"nothing from the process in {timeout} s") from None
        if line is None:
            raise AssertionError(f"the process ended: {self.process.stderr.read().decode()}")
        return json.loads(line)

    def has_sent(self) -> bool:
        """Whether a value is there to receive."""
        return not self._lines.empty()

    def close(self) -> None:
        end(self.process)
        self._reader.join(60)

    def _read(self) -> None:
        try:
            for line in self.process.stdout:
                self._lines.put(line)
        except ValueError:  # its pipe was closed meanwhile
            pass
        self._lines.put(None)
