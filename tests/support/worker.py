"""Drive one of the programs in tests/workloads: give it commands, wait for its events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.backends import IN_GUEST
from support.json_process import JsonProcess
from support.namespace import Namespace

# Only a hang gets there; under emulation a start of Python alone may take half of a minute.
ANSWER_S = 180.0 if IN_GUEST else 30.0
PYTHON = "/usr/bin/python3"


class Worker(JsonProcess):
    """A running worker; every event is a dictionary with the key `event`."""

    def __init__(
        self,
        folder: Path,
        namespace: Namespace,
        role: str,
        *,
        user: str = "unprivileged",
        comm: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> None:
        name = [comm.hex()] if comm else []
        python = ["env", *(f"{key}={value}" for key, value in (env or {}).items()), PYTHON]
        script = str(folder / "worker.py")
        super().__init__([*namespace.command(user), *python, script, role, *name])
        self.pid: int = self.expect("hello")["pid"]

    def begin(self, *words: object) -> None:
        """Give a command, without waiting for it to be done."""
        self.send(" ".join(map(str, words)))

    def expect(self, event: str, timeout: float = ANSWER_S) -> dict[str, Any]:
        """The next event, which must be this one."""
        found: dict[str, Any] = self.receive(timeout)
        assert found["event"] == event, f"expected {event!r}, got {found}"
        return found

    def ask(self, *words: object, timeout: float = ANSWER_S) -> dict[str, Any]:
        """Give a command and wait until it is done."""
        self.begin(*words)
        return self.expect(str(words[0]), timeout)

    def connect(self, host: str, port: int, *more: object) -> dict[str, Any]:
        self.begin("connect", host, port, *more)
        self.expect("connecting")
        return self.expect("connect")
