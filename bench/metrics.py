"""What each metric costs, and what is saved where one is off: `python -m bench.metrics`, as root.

Prints medians as JSON.  The probe runs with one set of metrics after the other, round by round,
beside the same traffic, so that what the machine does else falls on all of them:

- `idle_ms`: CPU of the probe in a second, with 10,000 open sockets that move nothing
- `call_ns`, `connection_ns`, `refused_ns`: time of the probe's programs at a TCP call, a connection
  with one exchange, and a connect that is refused, by the clock of the kernel
- `refused_us`: CPU of the probe itself for a connect that is refused
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench.cost import in_kernel, usage
from bench.place import isolate, privileged
from bench.progress import Progress
from bench.traffic import Outcome
from bench.traffic.programs import program
from bench.traffic.sockets import open_sockets
from bench.watchers import Watcher, Watching, watching
from bench.watchers.probe import command
from bench.watchers.stats import run_times
from xctl_probe.metrics import DEFAULT, Metric, text_of

_MAIN = frozenset((Metric.BANDWIDTH, Metric.STALLS, Metric.ERRORS))
SETS = [
    *(frozenset((metric,)) for metric in (Metric.BANDWIDTH, Metric.STALLS, Metric.ERRORS)),
    *(_MAIN - {metric} for metric in (Metric.STALLS, Metric.ERRORS)),
    _MAIN,
    *(_MAIN | {metric} for metric in Metric if metric not in DEFAULT),
    frozenset(Metric),
]
_SETTLE_S = 1.5
_IDLE_S = 4.0
_PROGRAMS = {"call_ns": "pingpong", "connection_ns": "connects", "refused_ns": "refused"}
Report = Callable[[str], None]
Found = dict[str, dict[str, list[float]]]  # by set of metrics and figure


def main() -> None:
    """Measure all sets in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    parser.add_argument("--sockets", type=int, default=10_000)
    options = parser.parse_args()
    isolate("bench.metrics")
    if not privileged():
        sys.exit("bench.metrics: run as root: without it, no metric loads a program")
    found = measure(options.rounds, options.seconds, options.sockets, Progress().update)
    medians = {
        name: {figure: round(statistics.median(values), 2) for figure, values in figures.items()}
        for name, figures in found.items()
    }
    head = {"kernel": os.uname().release, "rounds": options.rounds, "sockets": options.sockets}
    json.dump({**head, "medians": medians}, sys.stdout, indent=1)
    print()


def measure(rounds: int, seconds: float, sockets: int, report: Report) -> Found:
    """Return the figures of each round, by set of metrics."""
    found: Found = defaultdict(lambda: defaultdict(list))
    with open_sockets(sockets):
        for metrics in _in_turns(rounds, "open sockets", report):
            _idle(metrics, found[metrics])
    for metrics in _in_turns(rounds, "traffic", report):
        _traffic(metrics, found[metrics], seconds)
    return found


def _in_turns(rounds: int, what: str, report: Report) -> Iterator[str]:
    for number in range(rounds):
        for metrics in map(text_of, SETS):
            report(f"{what}, round {number + 1} of {rounds}: {metrics}")
            yield metrics


def _probe(metrics: str) -> AbstractContextManager[Watching]:
    options = ("--backend", "ebpf", "--metrics", metrics)
    return watching(Watcher("probe", metrics, lambda: command(*options), b": source "))


def _idle(metrics: str, figures: dict[str, list[float]]) -> None:
    with _probe(metrics) as now:
        time.sleep(_SETTLE_S)
        cpu_ns, begun = usage(now.pid).cpu_ns, time.monotonic()
        time.sleep(_IDLE_S)
        idle_ns = usage(now.pid).cpu_ns - cpu_ns
        figures["idle_ms"].append(idle_ns / 1e6 / (time.monotonic() - begun))


def _traffic(metrics: str, figures: dict[str, list[float]], seconds: float) -> None:
    with _probe(metrics) as now, run_times():
        for figure, name in _PROGRAMS.items():
            with program(name) as traffic:
                before_ns, cpu_ns = in_kernel(now.pid).run_ns, usage(now.pid).cpu_ns
                outcome = traffic.run(seconds)
                ran_ns = in_kernel(now.pid).run_ns - before_ns
            figures[figure].append(ran_ns / _operations(name, outcome))
        time.sleep(_SETTLE_S)  # until the failures of the last interval are records
        cpu_us = (usage(now.pid).cpu_ns - cpu_ns) / 1e3
        figures["refused_us"].append(cpu_us / _operations(name, outcome))


def _operations(name: str, outcome: Outcome) -> float:
    """Calls of ping-pong; connects of the others."""
    return outcome.calls or 1 if name == "pingpong" else outcome.rate * outcome.seconds


if __name__ == "__main__":
    main()
