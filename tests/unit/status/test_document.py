"""The document: what is sent is what is read, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.status import STATUS, WITHOUT_KERNEL

from xctl_probe.status.document import parse, to_json

FIELDS = json.loads(to_json(STATUS))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("status", [STATUS, WITHOUT_KERNEL], ids=["ebpf", "sampler"])
def test_what_is_sent_is_what_is_read(status):
    line = to_json(status)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert parse(json.loads(line)) == status


def test_names_of_units_are_those_of_the_records():
    """Bytes and ms, as integers."""
    assert FIELDS["intervals"]["late_ago_ms"] == 61_000
    assert FIELDS["figures"]["ring"] == {
        "size_bytes": 1_048_576, "used_bytes": 352, "most_used_bytes": 23_029,
    }  # fmt: skip
    assert FIELDS["lost"] == {"ring": 3, "waits": 1_013}


def test_fields_of_a_newer_probe_are_left_out():
    newer = FIELDS | {"more": [7], "records": FIELDS["records"] | {"more": 7}}
    assert parse(newer) == STATUS


def test_a_field_with_a_default_may_be_missing():
    older = {name: value for name, value in FIELDS.items() if name != "lost_ago_ms"}
    assert parse(older).lost_ago_ms is None


@pytest.mark.parametrize("name", ["pid", "choice", "intervals", "figures"])
def test_a_field_without_a_default_may_not(name):
    with pytest.raises(ValueError, match="Status is incomplete"):
        parse({key: value for key, value in FIELDS.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [("pid", "7"), ("pid", True), ("pid", 7.0), ("lost", {"ring": None}), ("lost", []),
     ("intervals", 7), ("figures", {"maps": [7]}), ("figures", {"programs": {}})],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(ValueError, match=r"is no object|is not of type"):
        parse(FIELDS | {name: value})


@given(st.sampled_from(sorted(FIELDS)), VALUES)
def test_any_other_value_is_read_or_refused(name, value):
    """By ValueError, which the command reports."""
    try:
        parse(FIELDS | {name: value})
    except ValueError:
        return


@given(VALUES)
def test_any_other_document_is_refused(value):
    with pytest.raises(ValueError, match=r"is no object|is incomplete|is not of type"):
        parse(value)
