"""Traffic without and with each watcher in turn: without, A, without, B, without …

Each run with a watcher is compared with the two runs without that it lies between, so that a
machine that gets slower meanwhile does not count against whoever came last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.cost import in_kernel, usage
from bench.place import privileged
from bench.servers import NotReady
from bench.spread import spread
from bench.traffic import Outcome, Running, Workload
from bench.watchers import Watcher, Watching, watching
from bench.watchers.stats import run_times

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a watcher took during one run."""

    cpu_share: float  # of one core
    resident_mib: float
    peak_mib: float
    kernel_kib: float
    lost: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One run with a watcher, between two without."""

    outcome: Outcome
    before: Outcome
    after: Outcome
    cost: Cost

    def ratio(self, what: Callable[[Outcome], float | None]) -> float | None:
        """With, over the mean of the two without."""
        values = [what(one) for one in (self.outcome, self.before, self.after)]
        if None in values or not values[1] or not values[2]:
            return None
        return values[0] / ((values[1] + values[2]) / 2)  # type: ignore[operator]

    @property
    def added_ns(self) -> float | None:
        """By which a call got longer, from end to end, in CPU."""
        took = [_call_ns(one) for one in (self.outcome, self.before, self.after)]
        return None if None in took else took[0] - (took[1] + took[2]) / 2  # type: ignore[operator]


@dataclass(slots=True)
class _Found:
    """Of one workload."""

    without: list[Outcome] = field(default_factory=list)
    seen: dict[str, list[Seen]] = field(default_factory=dict)  # by watcher
    run_ns: dict[str, float] = field(default_factory=dict)  # likewise, for each call


def compare(
    workloads: Sequence[Workload],
    watchers: Sequence[Watcher],
    rounds: int,
    seconds: float,
    report: Report,
) -> dict[str, dict[str, object]]:
    """By workload, what results.json has of it.

    The more workloads at once, the fewer starts of a watcher, and the further apart are the
    runs that are compared.
    """
    found = {workload.name: _Found() for workload in workloads}
    trouble: dict[str, str] = {}
    with ExitStack() as stack:
        traffic = {one.name: stack.enter_context(one.start()) for one in workloads}
        for running in traffic.values():
            running.run(min(seconds, 1.0))  # whatever the first run only has to do
        _run_without(traffic, found, seconds)
        for done in range(rounds):
            for watcher in watchers:
                if watcher.name in trouble:
                    continue
                report(f"{', '.join(traffic)}: round {done + 1} of {rounds}, {watcher.name}")
                try:
                    runs = _run_with(watcher, traffic, found, seconds, clock=not done)
                except NotReady as error:
                    report(str(error))
                    trouble[watcher.name] = str(error).splitlines()[-1]
                    continue
                _run_without(traffic, found, seconds)
                for name, (outcome, cost) in runs.items():
                    before, after = found[name].without[-2:]
                    seen = found[name].seen.setdefault(watcher.name, [])
                    seen.append(Seen(outcome, before, after, cost))
    return {one.name: _result(one, watchers, found[one.name], trouble) for one in workloads}


def _run_without(traffic: dict[str, Running], found: dict[str, _Found], seconds: float) -> None:
    for name, running in traffic.items():
        found[name].without.append(running.run(seconds))


def _run_with(
    watcher: Watcher,
    traffic: dict[str, Running],
    found: dict[str, _Found],
    seconds: float,
    *,
    clock: bool,
) -> dict[str, tuple[Outcome, Cost]]:
    runs = {}
    with watching(watcher) as now:
        for name, running in traffic.items():
            runs[name] = _measured(watcher, now, running, seconds)
            if clock and watcher.root and privileged():
                took = _run_ns_per_call(now, running, seconds)
                if took is not None:
                    found[name].run_ns[watcher.name] = took
    return runs


def _measured(
    watcher: Watcher, now: Watching, traffic: Running, seconds: float
) -> tuple[Outcome, Cost]:
    before, begun = usage(now.pid), time.monotonic()
    outcome = traffic.run(seconds)
    after, took = usage(now.pid), time.monotonic() - begun
    cost = Cost(
        (after.cpu_ns - before.cpu_ns) / 1e9 / took,
        after.resident_mib,
        after.peak_mib,
        in_kernel(now.pid).memory_kib,
        watcher.lost(now.printed()),
    )
    return outcome, cost


def _run_ns_per_call(now: Watching, traffic: Running, seconds: float) -> float | None:
    """What all its programs took over the calls made, by the kernel's clock."""
    with run_times():
        before = in_kernel(now.pid)
        outcome = traffic.run(seconds)
        after = in_kernel(now.pid)
    if not outcome.calls or after.runs == before.runs:
        return None
    return (after.run_ns - before.run_ns) / outcome.calls


def _call_ns(outcome: Outcome) -> float | None:
    """By the CPU that was used: what else the machine does stays out of it."""
    if outcome.cpu_seconds is None or not outcome.calls:
        return None
    return outcome.cpu_seconds * 1e9 / outcome.calls


def _result(
    workload: Workload, watchers: Sequence[Watcher], found: _Found, trouble: dict[str, str]
) -> dict[str, object]:
    return {
        "what": workload.what,
        "unit": workload.unit,
        "without": {
            "rate": spread((run.rate for run in found.without), 2),
            "p50_us": spread((run.p50_us for run in found.without), 2),
            "p99_us": spread((run.p99_us for run in found.without), 2),
            "call_ns": spread(map(_call_ns, found.without), 1),
        },
        "with": {
            one.name: {
                **_compared(found.seen.get(one.name, []), workload.calls_ns),
                **_costs([seen.cost for seen in found.seen.get(one.name, [])]),
                "run_ns_per_call": _rounded(found.run_ns.get(one.name)),
                "trouble": trouble.get(one.name),
            }
            for one in watchers
        },
    }


def _compared(seen: Iterable[Seen], calls_ns: bool) -> dict[str, object]:
    seen = list(seen)
    return {
        "rate_ratio": spread(one.ratio(lambda run: run.rate) for one in seen),
        "per_cpu_ratio": spread(one.ratio(lambda run: run.rate_per_cpu) for one in seen),
        "p50_ratio": spread(one.ratio(lambda run: run.p50_us) for one in seen),
        "p99_ratio": spread(one.ratio(lambda run: run.p99_us) for one in seen),
        "added_ns": spread((one.added_ns for one in seen), 1) if calls_ns else None,
    }


def _costs(costs: list[Cost]) -> dict[str, object]:
    lost = [cost.lost for cost in costs if cost.lost is not None]
    return {
        "cpu_share": spread((cost.cpu_share for cost in costs), 5),
        "resident_mib": spread((cost.resident_mib for cost in costs), 1),
        "peak_mib": spread((cost.peak_mib for cost in costs), 1),
        "maps_kib": spread((cost.kernel_kib for cost in costs), 1),
        "lost": max(lost) if lost else None,  # in the worst run; it counts from its start
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
