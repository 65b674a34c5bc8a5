"""Programs that a benchmark starts, waits for and stops, by pid."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.place import as_anybody

_TIMEOUT_S = 60.0
_POLL_S = 0.01


class NotReady(Exception):
    """A program exited, or was not ready in time; the text has its last output."""


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = _TIMEOUT_S) -> None:
    """Wait until the condition is true.  Raises NotReady."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise NotReady(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(_POLL_S)


def listens(port: int) -> bool:
    """True when somebody accepts connections on the port of 127.0.0.1."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that serves the port; ended with the context."""
    process = subprocess.Popen(
        [*as_anybody(), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: process.poll() is not None or listens(port), command[0])
        if process.poll() is not None:
            assert process.stderr is not None
            raise NotReady(f"{command[0]}: {process.stderr.read().decode(errors='replace')}")
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for who does not heed it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
