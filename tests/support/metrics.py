"""Metrics as the official parsers read them, with exact values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

Labels = dict[str, str]


def parsed(text: bytes, *, as_openmetrics: bool = False) -> list[tuple[str, Labels, Decimal]]:
    """The samples: name, labels and value.

    The parsers make floats of values, so these are read off the lines, which are in the same order.
    """
    parse = openmetrics if as_openmetrics else text_format
    samples = [one for family in parse(text.decode()) for one in family.samples]
    values = [Decimal(line.rpartition(" ")[2]) for line in lines(text)]
    assert [float(one.value) for one in samples] == [float(value) for value in values]
    keys = Counter((one.name, *sorted(one.labels.items())) for one in samples)
    assert set(keys.values()) <= {1}, "a line comes twice"
    return [(one.name, one.labels, value) for one, value in zip(samples, values, strict=True)]


def lines(text: bytes) -> Iterator[str]:
    """The lines that are no comments."""
    return (line for line in text.decode().split("\n") if line and not line.startswith("#"))


def values(text: bytes, name: str, **labels: str) -> list[tuple[Labels, Decimal]]:
    """The samples of that name which have these labels."""
    return [
        (found, value)
        for sample, found, value in parsed(text)
        if sample == f"xctl_net_{name}" and labels.items() <= found.items()
    ]


def total(text: bytes, name: str, **labels: str) -> Decimal:
    """The sum of those."""
    return sum((value for _, value in values(text, name, **labels)), Decimal(0))
