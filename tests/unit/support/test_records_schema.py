"""The schema of the records is valid, matches what the probe writes, and admits nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from support import records_schema
from support.records_schema import SCHEMA, SchemaError, check

from xctl_probe.events import Cause, Direction, ErrorKind, PortErrorKind

GOLDEN = Path(__file__).parents[2] / "golden"
# The golden events have one stall of a socket without an inode, which no source reports.
RECORDS = [
    record
    for name in ("all.ndjson", "few.ndjson")
    for record in map(json.loads, (GOLDEN / name).read_text().splitlines())
    if (record["event_type"], record["entity_id"]) != ("transport.drop", "unknown")
]


def properties_of(kind):
    return SCHEMA["$defs"][kind].get("properties", {})


def test_schema_is_valid_in_its_own_draft():
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_both_validators_accept_one_golden_record_of_each_shape():
    """The compiler of the tests knows draft 7 only: the draft's own validator agrees with it."""
    shapes = {(r["event_type"], r["pid"] is None, *r["net"]): r for r in RECORDS}
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for record in shapes.values():
        check(record)
        validator.validate(record)


def test_every_golden_record_matches():
    for record in RECORDS:
        check(record)


def test_every_kind_of_record_is_among_the_golden_ones():
    kinds = [ref["$ref"].removeprefix("#/$defs/") for ref in SCHEMA["oneOf"]]
    seen = set()
    for kind in kinds:
        one = jsonschema.Draft202012Validator({**SCHEMA, "oneOf": [{"$ref": f"#/$defs/{kind}"}]})
        seen |= {kind} if any(map(one.is_valid, RECORDS)) else set()
    assert seen == set(kinds)


def test_words_are_those_of_the_events():
    """A new cause, direction or kind of error has to be added to the schema."""
    net = properties_of("stall")["net"]["properties"]
    assert net["cause"]["enum"] == [*map(str, Cause), None], "the order is that of Cause"
    assert net["direction"]["enum"] == [*map(str, Direction)]
    kinds = "|".join(ErrorKind)
    assert properties_of("socket_error")["value"]["pattern"] == f"^({kinds}):[1-9][0-9]*$"
    kinds = "|".join(PortErrorKind)
    assert properties_of("port_error")["value"]["pattern"] == f"^({kinds}):[1-9][0-9]*$"


def test_page_of_records_names_every_kind_of_port_error():
    page = records_schema.PATH.with_name("records.md").read_text()
    assert [kind for kind in PortErrorKind if f"`{kind}:<n>`" not in page] == []


def test_page_of_records_names_every_field():
    page = records_schema.PATH.with_name("records.md").read_text()
    for ref in SCHEMA["oneOf"]:
        properties = properties_of(ref["$ref"].removeprefix("#/$defs/"))
        for name in [*properties, *properties["net"].get("properties", {})]:
            assert name in page


@pytest.mark.parametrize(
    "change",
    [
        {"ts": "1795702678221"},
        {"pid": 0},
        {"job_id": "7"},
        {"event_type": "transport.up"},
        {"value": "1.5"},
        {"entity_id": "a/b"},
        {"entity_id": "mlx5_0/"},
        {"extra": 1},
        {"net": {}},
    ],
    ids=str,
)
def test_other_records_are_refused(change):
    with pytest.raises(SchemaError, match=r"records\.schema\.json"):
        check(RECORDS[0] | change)


@pytest.mark.parametrize("name", ["comm", "sockets", "rx_mbps"])
def test_fields_of_other_kinds_are_refused(name):
    stall = next(r for r in RECORDS if r["event_type"] == "transport.drop")
    net = {key: value for key, value in stall["net"].items() if key != name}
    if net == stall["net"]:
        net = net | {name: 3}
    with pytest.raises(SchemaError):
        check(stall | {"net": net})
