"""Attributes and resources as messages of opentelemetry-proto."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from xctl_probe.exporters.origin import Origin
from xctl_probe.otlp import conventions as c
from xctl_probe.prometheus.registry import label_value

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    Attributes = RepeatedCompositeFieldContainer[KeyValue]

Value = str | int | float | bool | dict[str, int]
NAME = "xctl-probe-network"
LARGEST = 2**63 - 1  # of the integers of OTLP; the kernel's may be larger
_MACHINE_ID = Path("/etc/machine-id")  # machine-id(5)


def fill(target: Attributes, pairs: Iterable[tuple[str, Value | None]]) -> None:
    """Append attributes to a field; those with the value None are left out."""
    # By `add`: a message made first and copied takes three times as long.
    for key, value in pairs:
        if value is not None:
            attribute = target.add()
            attribute.key = key
            _set(attribute.value, value)


def _set(target: AnyValue, value: Value) -> None:
    if isinstance(value, str):
        target.string_value = label_value(value)  # printable, so it is UTF-8
    elif isinstance(value, bool):  # before int, which it is, too
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = min(value, LARGEST)
    elif isinstance(value, float):
        target.double_value = value
    else:
        fill(target.kvlist_value.values, value.items())


def resource(origin: Origin, version: str | None, source: str) -> Resource:
    """Return what all telemetry of one run has in common.

    https://opentelemetry.io/docs/specs/semconv/resource/: `service.instance.id` is random, for two
    probes of one host must not be taken for each other.
    """
    found = Resource()
    fill(
        found.attributes,
        (
            ("service.name", NAME),
            ("service.version", version),
            ("service.instance.id", str(uuid.uuid4())),
            ("host.name", origin.host),
            ("host.id", _machine_id()),
            ("os.type", "linux"),
            ("xctl.host.boot_id", origin.boot_id),
            (c.SOURCE, source),
        ),
    )
    return found


def scope(version: str | None) -> InstrumentationScope:
    """Return the scope, which is the probe itself."""
    return InstrumentationScope(name=NAME, version=version or "")


def _machine_id() -> str | None:
    try:
        return _MACHINE_ID.read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None
