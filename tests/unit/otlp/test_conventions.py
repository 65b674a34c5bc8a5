"""Names and units are those of the official package of the semantic conventions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import (
    container_attributes,
    host_attributes,
    k8s_attributes,
    network_attributes,
    process_attributes,
    service_attributes,
    thread_attributes,
)
from opentelemetry.semconv._incubating.metrics import process_metrics, system_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas

from xctl_probe.otlp import conventions as c
from xctl_probe.prometheus.families import FAMILIES, OWNER, Kind

PAGE = Path(__file__).parents[3] / "docs/opentelemetry.md"
MODULES = (
    container_attributes, error_attributes, host_attributes, k8s_attributes, network_attributes,
    process_attributes, service_attributes, thread_attributes,
)  # fmt: skip
OFFICIAL = {value for module in MODULES for value in vars(module).values() if type(value) is str}
UNITS = {
    name: unit
    for module in (process_metrics, system_metrics)
    for part in Path(module.__file__).read_text().split(": Final = ")
    for name, unit in re.findall(
        r'\A"([\w.]+)"\n"""\n[^"]*Instrument: counter\nUnit: (\S+)\n', part
    )
}


def test_each_family_has_a_metric_or_is_left_out():
    assert set(FAMILIES) == c.METRICS.keys() | c.LEFT_OUT
    assert not c.METRICS.keys() & c.LEFT_OUT
    names = [metric.name for metric in c.METRICS.values()]
    assert len(names) == len(set(names))
    for family, metric in c.METRICS.items():
        assert metric.monotonic == (family.kind is Kind.COUNTER)
        assert metric.as_seconds == family.is_ns == (metric.unit == "s")


def test_metrics_without_our_prefix_are_official():
    theirs = {m.name: m.unit for m in c.METRICS.values() if not m.name.startswith("xctl.")}
    assert theirs.keys() == {
        "process.network.io", "process.cpu.time", "system.network.io", "system.network.errors",
        "system.network.packet.dropped",
    }  # fmt: skip
    assert theirs.items() <= UNITS.items()


def test_attributes_without_our_prefix_are_official():
    families = [family for family in FAMILIES if family not in c.LEFT_OUT]
    examples = {"direction": "send", "priority": "3", "probable": "true"}
    found = {
        c.attribute(family, label, examples.get(label, "x"))
        for family in families
        for label in (*family.labels, *OWNER[:-1])
    }
    values = {value for _, value in found}
    assert {"transmit", "send", 3, True, "x"} == values
    names = {name for name, _ in found} | {c.PID, c.POD_UID}
    assert {name for name in names if not name.startswith("xctl.")} <= OFFICIAL


def test_directions_are_those_of_the_conventions():
    official = {one.value for one in network_attributes.NetworkIoDirectionValues}
    (family,) = (one for one, m in c.METRICS.items() if m.name == "system.network.io")
    assert {c.attribute(family, "direction", d)[1] for d in ("send", "receive")} == official


def test_the_schema_is_a_known_one():
    assert c.SCHEMA_URL in {one.value for one in Schemas}


@pytest.mark.parametrize("metric", c.METRICS.values(), ids=lambda metric: metric.name)
def test_the_page_has_each_metric_with_its_unit(metric):
    (row,) = (r for r in PAGE.read_text().splitlines() if r.startswith(f"| `{metric.name}` |"))
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:4] == ["sum" if metric.monotonic else "gauge", f"`{metric.unit}`"]
