"""Processes of the tests' own: each runs a few lines of Python, step by step, when told."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

STEP_S = 30.0

# What every actor has at hand.  `step()` ends one step and waits to be told the next;
# `say(x)` ends one and gives a value back.  `since(clock())` is how long something took, and
# how much of that this thread waited for a CPU: beside a busy host it notices an end late.
PRELUDE = """
import os, select, socket, struct, sys, threading, time
def step():
    sys.stdout.write("\\n"); sys.stdout.flush()
    if not sys.stdin.readline(): os._exit(0)
def say(value):
    sys.stdout.write(repr(value)); step()
def clock():
    with open("/proc/self/schedstat") as file: waited_for_cpu_ns = int(file.read().split()[1])
    return time.monotonic(), waited_for_cpu_ns / 1e9
def since(begin):
    return [now - then for now, then in zip(clock(), begin)]
def exactly(sock, count):
    got = 0
    while got < count:
        part = len(sock.recv(min(65536, count - got)))
        assert part, "end of file"
        got += part
    return got
"""


def is_length(duration_ns: int, lasted: tuple[float, float], slack_ms: float = 5) -> bool:
    """Whether a stall is as long as an actor found with `since`."""
    took_ms, late_ms = (1000 * seconds for seconds in lasted)
    return took_ms - late_ms - slack_ms <= duration_ns / 1e6 <= took_ms + slack_ms


class Actor:
    """One process; `go` lets it run to its next step and gives back what it said there."""

    def __init__(
        self, script: str, *, arguments: tuple[object, ...] = (), prefix: tuple[str, ...] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", PRELUDE + script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.said = self._until_step()

    def _until_step(self) -> object:
        line = self.process.stdout.readline()
        assert line.endswith("\n"), f"the actor ended with {self.process.wait()}"
        return eval(line) if line.strip() else None

    def start(self) -> None:
        """Let it run on, without waiting."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> object:
        """Wait for the step to end."""
        return self._until_step()

    def go(self) -> object:
        self.start()
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
