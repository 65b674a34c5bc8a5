"""iperf3: as much as goes through one connection, and through many."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench.place import as_anybody
from bench.servers import server
from bench.spent import spent
from bench.traffic import Outcome

_PORT = 8733


@dataclass(frozen=True, slots=True)
class Bulk:
    """So many streams at once."""

    streams: int
    server_pid: int

    def run(self, seconds: float) -> Outcome:
        """What the receiver got, in Gbit."""
        with spent(self.server_pid) as cpu:
            done = subprocess.run(
                [*as_anybody(), "iperf3", "-c", "127.0.0.1", "-p", str(_PORT),
                 "-P", str(self.streams), "-t", str(max(round(seconds), 1)), "-J"],
                check=True, stdout=subprocess.PIPE,
            )  # fmt: skip
        return replace(parse(done.stdout), cpu_seconds=cpu.seconds)


def parse(text: bytes) -> Outcome:
    """The report of `iperf3 -J`."""
    total = json.loads(text)["end"]["sum_received"]
    return Outcome(total["bits_per_second"] / 1e9, seconds=total["seconds"])


@contextmanager
def bulk(streams: int) -> Iterator[Bulk]:
    """iperf3, serving."""
    with server(["iperf3", "-s", "-B", "127.0.0.1", "-p", str(_PORT)], _PORT) as process:
        yield Bulk(streams, process.pid)
