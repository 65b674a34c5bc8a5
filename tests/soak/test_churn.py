"""The short soak: minutes and hours of the same are `make soak`."""

from __future__ import annotations

import pytest

from soak.run import run

CONNECTIONS, SOCKETS, PROCESSES = 3_000, 1_000, 100
PLAN = {
    "churners": 2, "churn_per_s": 400.0, "churn_count": CONNECTIONS // 2,
    "holders": 5, "connections": SOCKETS // 2, "exchanges_per_s": 50.0,
    "processes": PROCESSES, "talk_s": 2.0,
    "short_lived_per_s": 10.0,
}  # fmt: skip
CACHES_FILL_MIB = 8.0  # in ten seconds a leak does not show, only a flood; ebpf sees the whole host


@pytest.mark.timeout(180)
def test_every_promise_is_kept_under_churn(installed, backend):
    """3,000 short connections, 1,000 open sockets and 100 processes: all adds up, none leaks."""
    (outcome,) = run(installed, [backend], PLAN, seconds=120, growth_mib=CACHES_FILL_MIB)
    assert [str(v) for v in outcome.verdicts if not v.kept] == []
