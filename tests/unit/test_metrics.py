"""The names of `--metrics`: each is listed with its cost, and nothing else is taken."""

from __future__ import annotations

import pytest

from xctl_probe.config.options import OPTIONS
from xctl_probe.metrics import COSTS, DEFAULT, Metric, parse, text_of

(OPTION,) = (option for option in OPTIONS if option.name == "metrics")


def test_each_has_its_cost_in_the_help():
    assert list(COSTS) == list(Metric)
    assert all(f"{metric}: {cost}" in OPTION.help for metric, cost in COSTS.items())


def test_the_default_is_what_its_text_stands_for():
    assert parse(OPTION.default) == DEFAULT


@pytest.mark.parametrize("metric", Metric)
def test_one_alone(metric):
    assert parse(f" {metric} ,{metric}") == {metric}
    assert text_of({metric}) == metric


@pytest.mark.parametrize("text", ["", "stalls,", "Stalls", "stalls bandwidth", "xdp"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=f"^{text.rpartition(',')[2]}$"):
        parse(text)
