"""redis-benchmark: SET by fifty clients, against a redis that keeps nothing on disk."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.place import as_anybody
from bench.servers import server
from bench.spent import spent
from bench.traffic import Outcome
from bench.traffic.programs import build_folder

_PORT = 8732
_CLIENTS = 50


class Store:
    """Counts out as many requests as last about as long as asked."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._per_s = 20_000.0

    def run(self, seconds: float) -> Outcome:
        """redis-benchmark's own figures."""
        requests = max(int(self._per_s * seconds), 1000)
        begun = time.monotonic()
        with spent(self._server_pid) as cpu:
            done = subprocess.run(
                [*as_anybody(), "redis-benchmark", "-p", str(_PORT), "-c", str(_CLIENTS),
                 "-n", str(requests), "-t", "set", "--csv"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        result = parse(done.stdout, requests, time.monotonic() - begun)
        # its own clock leaves its start out, and its rate is of the time without
        result = replace(result, seconds=requests / result.rate, cpu_seconds=cpu.seconds)
        self._per_s = result.rate
        return result


def parse(text: str, requests: int, seconds: float) -> Outcome:
    """The line of `redis-benchmark --csv`."""
    row = next(csv.DictReader(text.splitlines()))
    return Outcome(
        float(row["rps"]),
        float(row["p50_latency_ms"]) * 1e3,
        float(row["p99_latency_ms"]) * 1e3,
        4 * requests,
        seconds,
    )


@contextmanager
def store() -> Iterator[Store]:
    """redis, serving; warmed up, so that it knows how fast it is."""
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    folder = str(build_folder())
    with server(
        ["redis-server", "--port", str(_PORT), "--dir", folder, *options], _PORT
    ) as process:
        ready = Store(process.pid)
        ready.run(0.5)
        yield ready
