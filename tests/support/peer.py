"""Play one of tests/workloads/peers step by step."""

from __future__ import annotations

import sys
from typing import Any, Self

from support.backends import EBPF, IN_GUEST, LATE_IN_GUEST_MS
from support.install import WORKLOADS
from support.json_process import JsonProcess

OFF_BY_MS = LATE_IN_GUEST_MS if IN_GUEST else EBPF.stall_tolerance_ms


def in_namespace(*commands: str) -> tuple[str, ...]:
    """Words before a command that run it, after these, in a network namespace of its own."""
    script = "; ".join(("ip link set lo up", *commands, 'exec "$0" "$@"'))
    return ("unshare", "--net", "sh", "-c", script)


def is_within(duration_ns: int, bounds_ns: tuple[int, int], slack_ms: float = OFF_BY_MS) -> bool:
    """Whether a stall is as long as the peer found: at least and at most."""
    least_ms, most_ms = (bound_ns / 1e6 for bound_ns in bounds_ns)
    return least_ms - slack_ms <= duration_ns / 1e6 <= most_ms + slack_ms


class Peer(JsonProcess):
    """A process that plays `module.function`; `first` is the value of its first step.

    `prefix` is a command that runs it, such as unshare.
    """

    def __init__(self, name: str, *arguments: object, prefix: tuple[str, ...] = ()) -> None:
        script = str(WORKLOADS / "peer.py")
        words = [*name.split("."), *map(str, arguments)]
        super().__init__([*prefix, sys.executable, script, *words])
        self.pid = self.process.pid
        self.first = self.receive()

    def start(self) -> None:
        """Let it run on, without waiting."""
        self.send()

    def finish(self) -> Any:
        """Wait for the step to end; its value."""
        return self.receive()

    def go(self) -> Any:
        """Let it run to the end of its next step; the value of that."""
        self.start()
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
