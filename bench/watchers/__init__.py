"""What watches the traffic while it is measured: the probe, and what it is compared with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.kernel_memory import Account
from bench.servers import NotReady, end, wait_for
from bench.traffic.programs import build_folder


@dataclass(frozen=True, slots=True)
class Watcher:
    """A program that watches; `ready` is in its output once it does."""

    name: str
    what: str
    command: Callable[[], Sequence[str]]
    ready: bytes
    lost: Callable[[bytes], int | None] = lambda _: None  # from all that it printed
    needs: tuple[str, ...] = ()  # programs
    root: bool = True
    starts_within_s: float = 60.0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watching:
    """It runs, under this pid."""

    pid: int
    output: Path

    def printed(self) -> bytes:
        """All so far, stdout and stderr."""
        return self.output.read_bytes()


@contextmanager
def watching(watcher: Watcher, account: Account | None = None) -> Iterator[Watching]:
    """Start it, wait until it watches, end it.  Raises NotReady."""
    output = build_folder() / f"{watcher.name}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            list(watcher.command()),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **watcher.environment},
        )
    now = Watching(process.pid, output)
    try:
        if account:
            account.join(process.pid)
        wait_for(
            lambda: process.poll() is not None or watcher.ready in now.printed(),
            watcher.name,
            watcher.starts_within_s,
        )
        if process.poll() is not None:
            raise NotReady(f"{watcher.name}: {now.printed().decode(errors='replace').strip()}")
        yield now
    finally:
        end(process)
