"""The rules, the dashboard and the page name metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.require import require_tools

from xctl_probe.prometheus.families import DROPPED_AT, FAMILIES, OWNER, PREFIX

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples/prometheus"
PAGE = ROOT / "docs/prometheus.md"
SAMPLES = {one.sample_name: one for one in FAMILIES}
NAME = re.compile(rf"{PREFIX}\w+")
SELECTOR = re.compile(rf"({PREFIX}\w+)\{{([^}}]*)\}}")
LABEL = re.compile(r"(\w+)(?:=~|!~|!=|=)")
TARGET = {"instance"}  # what Prometheus adds


def labels(family):
    return {*(OWNER if family.owned else ()), *family.labels}


@pytest.mark.parametrize("name", ["rules.yml", "dashboard.json", "rules.test.yml"])
def test_each_metric_and_label_of_an_example_exists(name):
    text = (EXAMPLES / name).read_text().replace('\\"', '"')
    named = {one for one in NAME.findall(text) if one in SAMPLES or not one.endswith("_")}
    assert named <= SAMPLES.keys()
    found = SELECTOR.findall(text)
    assert len(found) >= 2
    for metric, selector in found:
        assert {*LABEL.findall(selector)} <= labels(SAMPLES[metric]) | TARGET, metric


def test_the_dashboard_has_unique_panels_within_its_width():
    panels = json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    cells = [
        (x, y)
        for one in panels
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(target["expr"] for one in panels for target in one["targets"])


def test_prometheus_accepts_the_configuration_and_the_rules_do_what_they_should():
    """By promtool, with the tests beside the rules; each rule is in one."""
    require_tools("promtool")
    for words in (
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules.test.yml"),
    ):
        done = subprocess.run(
            [shutil.which("promtool"), *words],
            cwd=EXAMPLES,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"- alert: (\w+)", (EXAMPLES / "rules.yml").read_text()))
    tests = (EXAMPLES / "rules.test.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)", tests)) == alerts
    assert tests.count("exp_alerts") >= len(alerts)


def test_the_page_has_every_metric_as_it_is():
    """Name, type, unit and labels; the source of each is prose."""
    rows = re.findall(
        r"^\| `(xctl_net_\w+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$", PAGE.read_text(), re.M
    )
    found = {
        name: (kind, unit, re.findall(r"`(\w+)`|(process)", names))
        for name, kind, unit, names, _ in rows
    }
    assert list(found) == [one.sample_name for one in FAMILIES]
    for family in FAMILIES:
        kind, unit, names = found[family.sample_name]
        assert kind == family.kind
        assert unit == (family.unit or "")
        given = ["process"] if family.owned else []
        assert [one or other for one, other in names] == [*given, *family.labels]


def test_each_place_of_dropped_events_begins_at_zero():
    """Those of docs/records.md: Prometheus does not see the first step of a counter."""
    text = (ROOT / "docs/records.md").read_text().split("| `net.where` |")[1].split("\n\n")[0]
    places = [p for row in text.splitlines()[2:] for p in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(places) == sorted(DROPPED_AT)
