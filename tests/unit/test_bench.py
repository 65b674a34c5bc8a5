"""The pages about cost have what was measured; what other programs print is read rightly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bench_is_found(monkeypatch):
    """bench/ is no part of the package: it is run from the checkout."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "bench"]:
        del sys.modules[name]


def test_the_pages_are_those_that_the_results_make():
    """`python -m bench --parts render` renews them."""
    from bench import render, results

    for path, text in render.pages(results.load()).items():
        assert path.read_text() == text, f"{path.name} is not of results.json"


def test_every_picture_of_the_pages_is_there():
    for page in (ROOT / "docs/performance.md", ROOT / "README.md"):
        for word in page.read_text().replace(")", "(").split("("):
            if word.endswith(".svg"):
                assert (page.parent / word).exists(), word


def test_a_run_lies_between_two_without():
    """100 without, 90 with, 140 without: 0.75 of their mean; and 2 ns a call more."""
    from bench.rounds import Cost, Seen
    from bench.traffic import Outcome

    seen = Seen(
        Outcome(90, 12.0, None, 1_000, 1.0, 7e-6),
        Outcome(100, 10.0, 20.0, 1_000, 1.0, 4e-6),
        Outcome(140, 6.0, 30.0, 1_000, 1.0, 6e-6),
        Cost(0.01, 23.0, 29.0, 7.0, 0),
    )
    assert seen.ratio(lambda run: run.rate) == 0.75
    assert seen.ratio(lambda run: run.p50_us) == 1.5
    assert seen.ratio(lambda run: run.p99_us) is None
    assert seen.added_ns == pytest.approx(2.0)


def test_work_by_cpu_is_the_rate_over_the_cores_that_were_used():
    """300 a second for 2 s with 1.5 s of CPU: 400 by each second of it."""
    from bench.traffic import Outcome

    assert Outcome(300, seconds=2.0, cpu_seconds=1.5).rate_per_cpu == 400
    assert Outcome(300, seconds=2.0).rate_per_cpu is None


def test_the_spread_of_nothing_is_nothing():
    from bench.spread import spread

    assert spread([None, None]) is None
    assert spread([3.0, None, 1.0, 2.5]) == {"median": 2.5, "least": 1.0, "most": 3.0, "runs": 3}


def test_wrk_is_read():
    from bench.traffic.web import parse

    text = """
  Latency Distribution
     50%  163.00us
     99%    1.61ms
  446921 requests in 2.10s, 341.01MB read
Requests/sec: 212819.52
"""
    reported = parse(text)
    assert (reported.rate, reported.p50_us, reported.p99_us) == (
        212819.52,
        163.0,
        pytest.approx(1610.0),
    )
    assert reported.calls == 4 * 446_921
    assert reported.seconds == 2.1


def test_redis_benchmark_is_read():
    from bench.traffic.store import parse

    text = (
        '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms",'
        '"p99_latency_ms","max_latency_ms"\n'
        '"SET","188679.25","0.139","0.048","0.135","0.159","0.207","1.183"\n'
    )
    reported = parse(text, 1_009, 0.5)
    assert (reported.rate, reported.p50_us, reported.p99_us, reported.calls) == (
        188_679.25,
        135,
        207,
        4_036,
    )


def test_what_the_probe_reports_as_lost_is_added_up():
    from bench.watchers.probe import lost

    line = b'{"ts":1,"event_type":"error.net","entity_id":"xctl-probe","value":"PROBE_LOST:%d"}\n'
    assert lost(line % 7 + line % 13) == 20
    assert lost(b"") == 0


def test_a_goal_that_is_missed_is_reported_so():
    """23 ns are more than half of 45, and less than twice 12."""
    from bench.goals import goals

    def added(median):
        return {"added_ns": {"median": median}, "rate_ratio": None}

    seen = {"ebpf": added(23), "bpftrace": added(45), "empty": added(12)}
    results = {"native": {"workloads": {"datagrams": {"with": seen}}}}
    assert [goal.kept for goal in goals(results)] == [False, True]
