"""Everything that is measured on this kernel, or, in a guest, on that one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import results, scaling, startup
from bench.place import privileged
from bench.progress import Progress
from bench.rounds import compare
from bench.servers import NotReady
from bench.traffic import Workload
from bench.watchers import Watcher, watching
from bench.watchers.probe import EBPF, PROC, variant


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how long."""

    workloads: Sequence[Workload]
    watchers: Sequence[Watcher]
    rounds: int
    seconds: float
    busy_share: float  # of the machine, with other things, before it began
    few_starts: bool = False  # where a start takes long: all workloads between two


def comparisons(plan: Plan, progress: Progress) -> Iterator[dict[str, Any]]:
    """Each workload under each watcher, as results.json has it, piece by piece."""
    watchers = [one for one in plan.watchers if _usable(one, progress)]
    described = {one.name: _what(one) for one in watchers}
    ready = []
    for workload in plan.workloads:
        missing = [name for name in workload.needs if not shutil.which(name)]
        if missing:
            progress.report(f"NOT MEASURED: {workload.name}: {', '.join(missing)} is not installed")
        else:
            ready.append(workload)
    for together in [ready] if plan.few_starts else [[one] for one in ready]:
        measured = compare(together, watchers, plan.rounds, plan.seconds, progress.update)
        for workload, one in measured.items():
            _report(workload, one, progress)
        yield {
            "host": results.host(),
            "busy_share": plan.busy_share,
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "watchers": described,
            "workloads": measured,
        }


def _what(watcher: Watcher) -> str:
    if watcher is not EBPF:
        return watcher.what
    with watching(watcher) as now:
        return f"{watcher.what} {variant(now.printed())}"


def _report(workload: str, measured: dict[str, Any], progress: Progress) -> None:
    for name, one in measured["with"].items():
        ratio = one["rate_ratio"]
        text = one["trouble"] or "{median:.3f} ({least:.3f} to {most:.3f})".format(**ratio)
        progress.report(f"{workload:12} {name:16} {text}")


def _usable(watcher: Watcher, progress: Progress) -> bool:
    missing = [name for name in watcher.needs if not shutil.which(name)]
    if watcher.root and not privileged():
        missing = ["root"]
    if missing:
        progress.report(f"NOT MEASURED: {watcher.name}: needs {', '.join(missing)}")
    return not missing


def scales(seconds: float, progress: Progress) -> dict[str, Any]:
    """The probe's own curves and its start, by source."""
    sources = [one for one in (EBPF, PROC) if _usable(one, progress)]
    try:
        return {
            "start_ms": startup.measure(sources, progress.update),
            "by_calls": scaling.calls(sources, seconds, progress.update),
            "by_sockets": scaling.sockets(sources, seconds, progress.update),
        }
    except NotReady as error:
        progress.report(f"NOT MEASURED: {error}")
        return {}
