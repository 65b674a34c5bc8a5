"""Median and range of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TypedDict


class Spread(TypedDict):
    """As results.json has it."""

    median: float
    least: float
    most: float
    runs: int


def spread(values: Iterable[float | None], digits: int = 4) -> Spread | None:
    """None where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {
        "median": round(statistics.median(known), digits),
        "least": round(min(known), digits),
        "most": round(max(known), digits),
        "runs": len(known),
    }
