"""The length of time that a user gives."""

from __future__ import annotations

import pytest

from xctl_probe.recordings.limits import Limits, span_ms


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90_000), ("10m", 600_000), ("2h", 7_200_000), ("365d", 31_536_000_000)],
)
def test_a_number_and_a_unit_are_a_length(text, expected):
    assert span_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "0m", "-1m", "1.5h", "1 m", "1w", "366d", "9999999999s", "10m\n", "\u0661m"],
)
def test_anything_else_is_none(text):
    """Among them digits that are not ASCII."""
    with pytest.raises(ValueError, match=r"^"):
        span_ms(text)


def test_an_hour_and_64_mib_are_the_defaults():
    """As docs/options.md has them."""
    assert Limits() == Limits(3_600_000, 67_108_864)
