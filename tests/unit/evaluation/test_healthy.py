"""Healthy time of an evaluation: what comes in turn, how results are added, and the table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evaluation import page, run
from evaluation.programs import PROGRAMS
from evaluation.results import Healthy, Injection, Results, Verdict, read
from evaluation.score import score


def plan(**more) -> run.Plan:
    settings = {
        "program": PROGRAMS["redis"], "layout": "one", "faults": ("none", "idle"),
        "sources": ("kernel",), "seed": 1, "interval_s": 1.0, "folder": None,
    }  # fmt: skip
    return run.Plan(**settings | more)


def test_faults_come_once_each():
    assert list(plan(faults=("stop", "none", "stop")).in_turn()) == ["stop", "none", "stop"]


def test_what_is_healthy_comes_in_turn_until_the_time_is_over(monkeypatch):
    now = iter((100.0, *range(101, 200)))
    monkeypatch.setattr(run.time, "monotonic", lambda: float(next(now)))
    assert list(plan(healthy_s=6.0).in_turn()) == ["none", "idle", "none", "idle", "none"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_something_healthy(name):
    for of_layout in PROGRAMS[name].faults.values():
        assert set(run.HEALTHY) & set(of_layout)


def test_results_of_two_runs_are_added_and_read_again(tmp_path):
    first = Results([3], "2026-11-30", "host", [_injection("redis")], [_phase("redis", 60.0)])
    first.add(Results([5], "2026-11-30", "host", [_injection("ray")], [_phase("ray", 30.0)], ["e"]))
    first.write(tmp_path / "results.json")
    known = read(tmp_path / "results.json")
    assert known.seeds == [3, 5]
    assert [one.program for one in known.injections] == ["redis", "ray"]
    assert [(one.program, one.seconds) for one in known.healthy] == [("redis", 60.0), ("ray", 30.0)]
    assert known.errors == ["e"]


def test_the_page_has_the_healthy_minutes_of_each_program():
    phases = [_phase("redis", 1800.0, kernel=2), _phase("redis", 1830.0), _phase("ray", 600.0)]
    text = page.render(Results([3], "2026-11-30", "host", [_injection("redis")], phases))
    lines = text.split("## Healthy time")[1].split("\n## ")[0].strip().splitlines()
    assert lines == [
        "| program | hosts | minutes | false, kernel | false, sampler |",
        "| --- | --- | --- | --- | --- |",
        "| ray | one | 10 | 0 | 0 |",
        "| redis | one | 60 | 2 | 0 |",
    ]


@pytest.mark.parametrize(("alone", "precision"), [(False, 0.5), (True, 1.0)])
def test_an_hour_without_injections_counts_by_the_hour_only(alone, precision):
    one = _injection("redis")
    one.sources["kernel"].true_stalls = 2
    phases = [replace(_phase("redis", 3600.0, kernel=2), alone=alone)]
    got = score(Results([3], "", "", [one], phases), "kernel", lambda _: True, healthy=True)
    assert (got.precision, got.false_per_hour, got.false) == (precision, 2.0, 2)


def _injection(program: str) -> Injection:
    sources = {"kernel": Verdict(), "sampler": Verdict()}
    return Injection(program, "one", "none", "server", 0, 1, 2, sources=sources)


def _phase(program: str, seconds: float, kernel: int = 0) -> Healthy:
    return Healthy(program, "one", seconds, {"kernel": ["false"] * kernel, "sampler": []})
