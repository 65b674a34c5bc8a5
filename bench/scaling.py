"""What the probe costs as the calls become more, and as the open sockets do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from bench.cost import usage
from bench.kernel_memory import account
from bench.place import as_anybody
from bench.rounds import Report
from bench.traffic.programs import program
from bench.traffic.sockets import OpenSockets, open_sockets
from bench.watchers import Watcher, watching
from bench.watchers.probe import PROC

CALLS_PER_S = (1_000, 10_000, 100_000, 300_000, None)  # None: all that the machine makes
SOCKETS = (10, 100, 1_000, 10_000, 50_000)
_SETTLE_S = 1.5


def calls(watchers: Sequence[Watcher], seconds: float, report: Report) -> list[dict[str, object]]:
    """CPU of the watcher over calls a second, on one TCP connection."""
    found = []
    for rate in CALLS_PER_S:
        for watcher in watchers:
            report(f"{rate or 'all'} calls a second: {watcher.name}")
            with (
                program("pingpong", *([str(rate)] if rate else [])) as traffic,
                watching(watcher) as now,
            ):
                time.sleep(_SETTLE_S)
                before, begun = usage(now.pid), time.monotonic()
                outcome = traffic.run(seconds)
                spent = usage(now.pid).cpu_ns - before.cpu_ns
                took = time.monotonic() - begun
            assert outcome.calls
            found.append(
                {
                    "watcher": watcher.name,
                    "calls_per_s": round(outcome.calls / outcome.seconds),
                    "cpu_share": round(spent / 1e9 / took, 5),
                }
            )
    return found


def sockets(watchers: Sequence[Watcher], seconds: float, report: Report) -> list[dict[str, object]]:
    """CPU, memory and the length of a tick over open sockets: idle, and each in use once."""
    found = []
    for count in SOCKETS:
        with open_sockets(count) as held:
            for watcher in watchers:
                report(f"{count} sockets: {watcher.name}")
                found.append(_with_sockets(watcher, count, held, seconds))
    return found


def _with_sockets(
    watcher: Watcher, count: int, held: OpenSockets, seconds: float
) -> dict[str, object]:
    with account() as memory, watching(watcher, memory) as now:
        time.sleep(_SETTLE_S)
        before, begun = usage(now.pid), time.monotonic()
        time.sleep(seconds)
        after, took = usage(now.pid), time.monotonic() - begun
        kernel_kib = memory.kib()
    return {
        "watcher": watcher.name,
        "sockets": count,
        "cpu_share": round((after.cpu_ns - before.cpu_ns) / 1e9 / took, 5),
        "resident_mib": round(after.resident_mib, 1),
        "peak_mib": round(after.peak_mib, 1),
        "kernel_kib": kernel_kib,
        **_ticks(watcher, held),
    }


def _ticks(watcher: Watcher, held: OpenSockets) -> dict[str, object]:
    """From a source of its own, in a process of its own: bench/tick.py."""
    ticker = subprocess.Popen(
        [*(as_anybody() if watcher is PROC else []), sys.executable, "-m", "bench.tick",
         watcher.name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert ticker.stdin is not None
    assert ticker.stdout is not None
    ticker.stdout.readline()  # ready
    held.exchange()
    output, _ = ticker.communicate("\n")
    answer: dict[str, object] = json.loads(output)
    return answer
