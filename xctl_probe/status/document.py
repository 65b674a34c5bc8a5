"""The document that a probe answers the request `status` with, and its JSON."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.figures import IntervalFigures, RecordFigures, SourceFigures


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What the probe takes of this host; CPU of its children only once they have exited."""

    cpu_ms: int
    cpu_percent: float  # of one core, since the start
    resident_bytes: int
    most_resident_bytes: int
    threads: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Status:
    """The figures of one probe.

    `choice` is the text of its start line.  `lost` has dropped events by place, as `PROBE_LOST`
    reports them; `stalls` is the number of stalls that are reported now.  `started_ms` is Unix
    epoch.
    """

    pid: int
    uid: int
    source: str
    choice: str
    kernel: str
    started_ms: int
    uptime_ms: int
    intervals: IntervalFigures
    records: RecordFigures
    stalls: int
    process: ProcessFigures
    figures: SourceFigures
    lost: Mapping[str, int] = field(default_factory=dict)
    lost_ago_ms: int | None = None


def to_json(status: Status) -> bytes:
    """Return one JSON object on one line."""
    return ascii_json(to_object(status))


def to_object(status: Status) -> dict[str, object]:
    """Return the document as values of JSON."""
    return dataclasses.asdict(status)


def parse(document: object) -> Status:
    """Return the status of a decoded document.  Raises ValueError where it is none.

    Fields of a newer probe are left out; what an older one lacks has its default.
    """
    status: Status = _parsed(Status, document)
    return status


def _parsed(kind: Any, value: object) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{kind.__name__} is no object")
    hints = _hints(kind)
    given = {name: _valid(hint, value[name]) for name, hint in hints.items() if name in value}
    try:
        return kind(**given)
    except TypeError:  # a field without a default is missing
        raise ValueError(f"{kind.__name__} is incomplete") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _valid(hint: Any, value: object) -> Any:
    """Return a value of the declared type.  Raises ValueError for any other."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _valid(arguments[0], value)
    if origin is tuple and isinstance(value, list):
        return tuple(_valid(arguments[0], one) for one in value)
    if origin is Mapping and isinstance(value, dict):
        return {str(name): _valid(arguments[1], one) for name, one in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _parsed(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is hint:
        return value
    raise ValueError(f"a {type(value).__name__} is not of type {hint}")
