"""Drive one of the programs in tests/workloads: tell it what to do, wait for what it says."""

from __future__ import annotations

import json
import queue
import threading
from pathlib import Path
from typing import Any

from support.namespace import Namespace, end, spawn

ANSWER_S = 30.0
PYTHON = "/usr/bin/python3"


class Worker:
    """A running worker; every event is a dictionary with the key `event`."""

    def __init__(
        self,
        folder: Path,
        namespace: Namespace,
        role: str,
        *,
        user: str = "unprivileged",
        comm: bytes = b"",
    ) -> None:
        name = [comm.hex()] if comm else []
        script = str(folder / "worker.py")
        self._process = spawn([*namespace.command(user), PYTHON, script, role, *name])
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pid: int = self.expect("hello")["pid"]

    def tell(self, *words: object) -> None:
        """Give a command, without waiting for it to be done."""
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._process.stdin.flush()

    def expect(self, event: str, timeout: float = ANSWER_S) -> dict[str, Any]:
        """The next event, which must be this one."""
        try:
            found = self._events.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no {event!r} from the worker in {timeout} s") from None
        if found is None:
            raise AssertionError(f"the worker ended: {self._process.stderr.read().decode()}")
        assert found["event"] == event, f"expected {event!r}, got {found}"
        return found

    def ask(self, *words: object, timeout: float = ANSWER_S) -> dict[str, Any]:
        """Give a command and wait until it is done."""
        self.tell(*words)
        return self.expect(str(words[0]), timeout)

    def connect(self, host: str, port: int, *more: object) -> dict[str, Any]:
        self.tell("connect", host, port, *more)
        self.expect("connecting")
        return self.expect("connect")

    def close(self) -> None:
        end(self._process)
        self._reader.join(10)

    def _read(self) -> None:
        try:
            for line in self._process.stdout:
                self._events.put(json.loads(line))
        except ValueError:  # its pipe was closed meanwhile
            pass
        self._events.put(None)
