"""CPU time of one tick: `python -m bench.tick proc|ebpf`.

Prints "ready", waits for a line, runs a tick over the events until then and several over idle
sockets, and prints their times in JSON (ms of CPU: drain, summarize, lines).
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.config.choices import Backend, Format
from xctl_probe.config.settings import Settings
from xctl_probe.events import Source
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.sources.select import open_source

_IDLE_TICKS = 7
_INTERVAL_NS = 1_000_000_000


def main() -> None:
    """Open the source as the command does, and tick."""
    kernel = sys.argv[1] == "ebpf"
    settings = Settings(
        interval_ns=_INTERVAL_NS, duration_ns=None, stall_ns=100_000_000, reply_ns=1_000_000_000,
        wanted=Filter(0.0, frozenset(), frozenset(), loopback=True),
        backend=Backend.EBPF if kernel else Backend.SAMPLER, format=Format.NDJSON, sock_diag=True,
    )  # fmt: skip
    source, _ = open_source(settings)
    for _ in range(2):  # what is done once: owners, names
        _tick_ms(source, settings)
    print("ready", flush=True)
    sys.stdin.readline()
    active = _tick_ms(source, settings)
    idle = [_tick_ms(source, settings) for _ in range(_IDLE_TICKS)]
    source.close()
    print(
        json.dumps(
            {
                "tick_active_ms": round(active, 2),
                "tick_idle_ms": round(statistics.median(idle), 2),
            }
        )
    )


def _tick_ms(source: Source, settings: Settings) -> float:
    begun = time.process_time_ns()
    events = source.drain(time.monotonic_ns()).events
    for record in aggregate(events, settings.wanted, _INTERVAL_NS, time.time_ns() // 1_000_000):
        to_line(record)
    return (time.process_time_ns() - begun) / 1e6


if __name__ == "__main__":
    main()
