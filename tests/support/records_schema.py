"""docs/records.schema.json, which every line that a test reads must match."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fastjsonschema

PATH = Path(__file__).parents[2] / "docs" / "records.schema.json"
SCHEMA: dict[str, Any] = json.loads(PATH.read_text())
# Compiled once: jsonschema's own validator takes milliseconds a line.  The schema keeps to keywords
# that mean the same in draft 7, which is the newest that this compiler knows.
_KINDS: dict[str, list[Callable[[object], object]]] = {}
for _ref in SCHEMA["oneOf"]:
    _kind = SCHEMA["$defs"][_ref["$ref"].removeprefix("#/$defs/")]
    _KINDS.setdefault(_kind["properties"]["event_type"]["const"], []).append(
        fastjsonschema.compile({"$defs": SCHEMA["$defs"], **_kind}, use_default=False)
    )


class SchemaError(ValueError):
    """The schema has no place for this record."""


def check(fields: Mapping[str, object]) -> None:
    """Raise SchemaError unless `fields`, one decoded line, matches one kind of record."""
    refused = []
    for matches in _KINDS.get(str(fields.get("event_type")), ()):
        try:
            matches(fields)
        except fastjsonschema.JsonSchemaValueException as error:
            refused.append(error.message)
        else:
            return
    reasons = "; ".join(refused) or "unknown event_type"
    raise SchemaError(f"docs/records.schema.json: {reasons}")
