"""CPU time of the servers and clients of a run, without other processes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.cost import usage


@dataclass(slots=True)
class Spent:
    """Seconds of CPU, user and system; known once the context has ended."""

    seconds: float = 0.0


@contextmanager
def spent(server_pid: int) -> Iterator[Spent]:
    """Measure the server, its children, and each client that starts and exits meanwhile."""
    now = Spent()
    before = _clients_s() + usage(server_pid).cpu_ns / 1e9
    yield now
    now.seconds = _clients_s() + usage(server_pid).cpu_ns / 1e9 - before


def _clients_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime
