"""How long a start takes: to the first record, beyond the interval."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from bench.rounds import Report
from bench.servers import end
from bench.spread import spread
from bench.watchers import Watcher

_INTERVAL_S = 1.0
_ROUNDS = 7


def measure(watchers: Sequence[Watcher], report: Report) -> dict[str, object]:
    """By source, as results.json has it; ms beyond an interval of one second."""
    first: dict[str, list[float]] = {watcher.name: [] for watcher in watchers}
    for done in range(_ROUNDS):
        for watcher in watchers:
            report(f"first record, {done + 1} of {_ROUNDS}: {watcher.name}")
            first[watcher.name].append((_first_record_s(watcher) - _INTERVAL_S) * 1e3)
    return {name: spread(values, 1) for name, values in first.items()}


def _first_record_s(watcher: Watcher) -> float:
    begun = time.monotonic()
    process = subprocess.Popen(
        [*watcher.command(), "--interval", str(_INTERVAL_S)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        return time.monotonic() - begun
    finally:
        end(process)
