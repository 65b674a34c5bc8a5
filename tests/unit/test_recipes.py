"""The recipes for programs that cannot be run here: their form, and the names in them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FLEET = (ROOT / "docs/fleet.md").read_text()
SCHEMA = (EXAMPLES / "clickhouse/schema.sql").read_text()
# Keys by the references of the programs: Vector 0.40 and later (sources/exec, transforms/remap,
# sinks/clickhouse), Telegraf 1.14 and later (inputs/execd, parsers/json).
VECTOR = {
    "exec": {
        "type", "mode", "command", "include_stderr", "framing", "decoding", "streaming",
    },
    "remap": {"type", "inputs", "source"},
    "clickhouse": {"type", "inputs", "endpoint", "database", "table"},
}  # fmt: skip
TELEGRAF = {
    "command", "signal", "restart_delay", "data_format", "json_name_key", "json_time_key",
    "json_time_format", "tag_keys", "json_string_fields",
}  # fmt: skip


@pytest.fixture
def vector():
    return tomllib.loads((EXAMPLES / "vector/vector.toml").read_text())


@pytest.fixture
def telegraf():
    (found,) = tomllib.loads((EXAMPLES / "telegraf/telegraf.conf").read_text())["inputs"]["execd"]
    return found


def test_vector_has_keys_of_its_reference(vector):
    parts = {name: part for kind in vector.values() for name, part in kind.items()}
    for part in parts.values():
        assert part.keys() <= VECTOR[part["type"]]
        assert set(part.get("inputs", ())) <= parts.keys()
    source = vector["sources"]["network"]
    assert source["streaming"].keys() == {"respawn_on_exit", "respawn_interval_secs"}
    assert (source["framing"], source["decoding"]) == (
        {"method": "newline_delimited"},
        {"codec": "bytes"},
    )
    assert vector["sinks"]["clickhouse"]["table"] == "lines"
    assert "CREATE TABLE lines (line String)" in SCHEMA
    assert '{"line": .message}' in vector["transforms"]["lines"]["source"]


def test_telegraf_has_keys_of_its_reference(telegraf):
    assert telegraf.keys() == TELEGRAF
    assert Path(telegraf["command"][0]).name == "xctl-probe-network-telegraf"


def test_telegraf_names_fields_of_the_records(telegraf):
    """Those of `net` have its name before theirs, as its parser flattens objects."""
    page = (ROOT / "docs/records.md").read_text()
    for name in (*telegraf["tag_keys"], *telegraf["json_string_fields"]):
        assert f"`{name.removeprefix('net_')}`" in page or f"net.{name[4:]}" in page


def test_the_page_names_each_recipe():
    files = [
        path.relative_to(ROOT)
        for folder in ("clickhouse", "rsyslog", "telegraf", "vector")
        for path in (EXAMPLES / folder).iterdir()
    ]
    assert len(files) == 6
    assert [str(path) for path in files if f"`{path}`" not in FLEET] == []
