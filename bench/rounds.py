"""One kind of traffic, without and with each watcher in turn: without, A, without, B, without …

Each run with a watcher is compared with the two runs without that it lies between, so that a
machine that gets slower meanwhile does not count against whoever came last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.cost import InKernel, in_kernel, usage
from bench.place import privileged
from bench.servers import NotReady
from bench.spread import spread
from bench.traffic import Outcome, Running, Workload
from bench.watchers import Watcher, watching
from bench.watchers.stats import run_times

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """One run with a watcher, between two without."""

    outcome: Outcome
    before: Outcome
    after: Outcome
    cpu_share: float  # of one core, over the run
    resident_mib: float
    peak_mib: float
    kernel_kib: float
    lost: int | None

    def ratio(self, what: Callable[[Outcome], float | None]) -> float | None:
        """With, over the mean of the two without."""
        values = [what(one) for one in (self.outcome, self.before, self.after)]
        if None in values or not values[1] or not values[2]:
            return None
        return values[0] / ((values[1] + values[2]) / 2)  # type: ignore[operator]

    @property
    def added_ns(self) -> float | None:
        """By which a call got longer, from end to end."""
        took = [_call_ns(one) for one in (self.outcome, self.before, self.after)]
        return None if None in took else took[0] - (took[1] + took[2]) / 2  # type: ignore[operator]


@dataclass(slots=True)
class _Collected:
    seen: list[Seen] = field(default_factory=list)
    run_ns_per_call: float | None = None
    trouble: str | None = None


def compare(
    workload: Workload, watchers: Sequence[Watcher], rounds: int, seconds: float, say: Say
) -> dict[str, object]:
    """All rounds of one workload, as results.json has them."""
    without: list[Outcome] = []
    by_watcher = {watcher.name: _Collected() for watcher in watchers}
    with workload.start() as traffic:
        traffic.run(min(seconds, 1.0))  # whatever the first run only has to do
        for done in range(rounds):
            without.append(traffic.run(seconds))
            for watcher in watchers:
                found = by_watcher[watcher.name]
                if found.trouble:
                    continue
                say(f"{workload.name}, round {done + 1} of {rounds}: {watcher.name}")
                try:
                    run = _watched(watcher, traffic, seconds)
                except NotReady as error:
                    found.trouble = str(error)
                    continue
                before = without[-1]
                without.append(traffic.run(seconds))
                found.seen.append(Seen(run[0], before, without[-1], *run[1:]))
        if privileged():
            for watcher in watchers:
                found = by_watcher[watcher.name]
                if watcher.root and not found.trouble:
                    say(f"{workload.name}, the kernel's clock: {watcher.name}")
                    found.run_ns_per_call = _run_ns_per_call(watcher, traffic, seconds)
    return {
        "what": workload.what,
        "unit": workload.unit,
        "without": _alone(without),
        "with": {
            name: _told(found, workload.calls_ns) for name, found in by_watcher.items()
        },
    }  # fmt: skip


def _watched(
    watcher: Watcher, traffic: Running, seconds: float
) -> tuple[Outcome, float, float, float, float, int | None]:
    with watching(watcher) as now:
        before, begun = usage(now.pid), time.monotonic()
        outcome = traffic.run(seconds)
        after, took = usage(now.pid), time.monotonic() - begun
        kernel = in_kernel(now.pid)
    return (
        outcome,
        (after.cpu_ns - before.cpu_ns) / 1e9 / took,
        after.resident_mib,
        after.peak_mib,
        kernel.memory_kib,
        watcher.lost(now.printed()),
    )


def _run_ns_per_call(watcher: Watcher, traffic: Running, seconds: float) -> float | None:
    """What its programs took, over the calls made: all that it does to one, by the kernel's clock."""
    with watching(watcher) as now, run_times():
        before = in_kernel(now.pid)
        outcome = traffic.run(seconds)
        after = in_kernel(now.pid)
    if not outcome.calls or not _ran(before, after):
        return None
    return (after.run_ns - before.run_ns) / outcome.calls


def _ran(before: InKernel, after: InKernel) -> bool:
    return after.runs > before.runs


def _call_ns(outcome: Outcome) -> float | None:
    return outcome.seconds * 1e9 / outcome.calls if outcome.calls else None


def _alone(runs: list[Outcome]) -> dict[str, object]:
    return {
        "rate": spread((run.rate for run in runs), 2),
        "p50_us": spread((run.p50_us for run in runs), 2),
        "p99_us": spread((run.p99_us for run in runs), 2),
        "call_ns": spread(map(_call_ns, runs), 1),
    }


def _told(found: _Collected, calls_ns: bool) -> dict[str, object]:
    seen = found.seen
    lost = [one.lost for one in seen if one.lost is not None]
    return {
        "rate_ratio": spread(one.ratio(lambda run: run.rate) for one in seen),
        "p50_ratio": spread(one.ratio(lambda run: run.p50_us) for one in seen),
        "p99_ratio": spread(one.ratio(lambda run: run.p99_us) for one in seen),
        "cpu_share": spread((one.cpu_share for one in seen), 5),
        "resident_mib": spread((one.resident_mib for one in seen), 1),
        "peak_mib": spread((one.peak_mib for one in seen), 1),
        "kernel_kib": spread((one.kernel_kib for one in seen), 1),
        "added_ns": spread((one.added_ns for one in seen), 1) if calls_ns else None,
        "run_ns_per_call": found.run_ns_per_call and round(found.run_ns_per_call, 1),
        "lost": sum(lost) if lost else None,
        "trouble": found.trouble,
    }
