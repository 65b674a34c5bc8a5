"""Attributes and resources as messages of opentelemetry-proto."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from xctl_probe.exporters.origin import Origin
from xctl_probe.otlp import conventions as c
from xctl_probe.prometheus.registry import label_value

Value = str | int | float | bool | dict[str, int]
NAME = "xctl-probe-network"
_MACHINE_ID = Path("/etc/machine-id")  # machine-id(5)


def attributes(pairs: Iterable[tuple[str, Value | None]]) -> list[KeyValue]:
    """Return attributes; those with the value None are left out."""
    return [KeyValue(key=key, value=_any(value)) for key, value in pairs if value is not None]


def _any(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=label_value(value))  # printable, so it is UTF-8
    if isinstance(value, bool):  # before int, which it is, too
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    found = AnyValue()
    found.kvlist_value.values.extend(attributes(value.items()))
    return found


def resource(origin: Origin, version: str | None, source: str) -> Resource:
    """Return what all telemetry of one run has in common.

    https://opentelemetry.io/docs/specs/semconv/resource/: `service.instance.id` is random, for two
    probes of one host must not be taken for each other.
    """
    return Resource(
        attributes=attributes(
            (
                ("service.name", NAME),
                ("service.version", version),
                ("service.instance.id", str(uuid.uuid4())),
                ("host.name", origin.host),
                ("host.id", _machine_id()),
                ("os.type", "linux"),
                ("xctl.host.boot_id", origin.boot_id),
                (c.SOURCE, source),
            )
        )
    )


def scope(version: str | None) -> InstrumentationScope:
    """Return the scope, which is the probe itself."""
    return InstrumentationScope(name=NAME, version=version or "")


def _machine_id() -> str | None:
    try:
        return _MACHINE_ID.read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None
