"""One run: a crowd in a namespace of its own, probes that watch it, and their verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from support.backends import Backend
from support.install import Installed
from support.namespace import Namespace

from soak.attached import existing, held_by
from soak.crowd import Crowd
from soak.verdict import GROWTH_MIB, Verdict, decide, is_complete
from soak.watched import Watched

SETTLE_INTERVALS = 3
GONE_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What came of one probe."""

    source: str
    verdicts: list[Verdict]
    cpu_share: float  # of one core, under load
    idle_mib: float  # resident before the load began
    peak_mib: float
    longest_interval_ms: int


def run(
    installed: Installed,
    backends: Sequence[Backend],
    plan: Mapping[str, Any],
    *,
    seconds: float,
    interval_s: float = 1.0,
    growth_mib: float = GROWTH_MIB,
    emit: Callable[[str], None] = lambda _: None,
) -> Iterator[Outcome]:
    """One outcome for each probe, all of which watch the same crowd.

    The load lasts `seconds`, or, where the plan has a `churn_count`, until that is done.
    """
    with ExitStack() as stack:
        namespace = stack.enter_context(closing(Namespace()))
        emit("the crowd gathers")
        crowd = stack.enter_context(closing(Crowd(installed.traffic, namespace, plan)))
        probes = []
        for backend in backends:
            probe = Watched(installed, namespace, backend, interval_s)
            stack.callback(probe.kill)
            probes.append(probe)
        marks = [probe.gauge.mark() for probe in probes]
        crowd.go()
        if "churn_count" in plan:
            crowd.wait_churned(plan["churners"], seconds)
        else:
            _wait(seconds, crowd, probes, emit)
        emit("the crowd stops")
        crowd.stop()
        for probe, mark in zip(probes, marks, strict=True):
            probe.wait_for(lambda _, p=probe: is_complete(crowd, p), SETTLE_INTERVALS * interval_s)
            probe.wait_intervals(SETTLE_INTERVALS)  # nothing may follow that is too much
            probe.gauge.mark()
            outcome = decide(crowd, probe, mark, growth_mib)
            if probe.backend.user == "root":
                outcome.append(_killed(probe))
            gauge = probe.gauge
            yield Outcome(
                probe.backend.name,
                outcome,
                gauge.cpu_share(mark),
                gauge.readings[mark].resident_bytes / (1 << 20),
                gauge.peak_mib(),
                probe.tally.longest_interval_ms,
            )


def _wait(seconds: float, crowd: Crowd, probes: list[Watched], emit: Callable[[str], None]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        parts = [
            f"{p.backend.name} {p.gauge.readings[-1].resident_bytes / (1 << 20):.1f} MiB "
            f"{len(p.gauge.readings[-1].descriptors)} fds {p.gauge.readings[-1].cpu_s:.1f} s CPU"
            for p in probes
        ]
        emit(f"{left:.0f} s left; {'; '.join(parts)}")
        time.sleep(min(left, 1.0))
        for probe in probes:
            assert probe.broken is None, probe.broken
        assert not crowd.failures, crowd.failures


def _killed(probe: Watched) -> Verdict:
    """Killed by -9, it leaves nothing in the kernel."""
    held = held_by(probe.pid)
    probe.kill()
    end = time.monotonic() + GONE_S
    while (left := held & existing()) and time.monotonic() < end:
        time.sleep(0.1)  # the kernel frees programs a grace period later
    return Verdict(
        "killed, it leaves nothing attached", bool(held) and not left,
        f"{len(held)} programs and links, {len(left)} left {sorted(left)}",
    )  # fmt: skip
