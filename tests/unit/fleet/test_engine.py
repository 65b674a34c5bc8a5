"""DuckDB is imported where FILE is given, and only there."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from xctl_probe.errors import UsageError
from xctl_probe.fleet.engine import Engine, query_text

QUERIES = ("schema", "waits", "members", "holders", "edges", "addresses")


def test_without_duckdb_one_line_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match=r"pip install 'xctl-probe-network\[fleet\]'"):
        Engine()


def test_neither_the_stream_nor_live_blame_imports_it():
    code = (
        "import sys, xctl_probe.cli, xctl_probe.commands.blame.command;"
        "print([name for name in sys.modules if 'duckdb' in name or 'xctl_probe.fleet' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_begins_with_its_purpose(name):
    text = query_text(name)
    assert text.startswith("--" if name != "schema" else "CREATE TABLE")


def test_the_memory_is_limited_and_nothing_is_fetched():
    with closing(Engine()) as engine:
        found = engine._rows(
            "SELECT name, value FROM duckdb_settings() WHERE name IN "
            "('memory_limit', 'autoinstall_known_extensions', 'autoload_known_extensions')"
        )
    values = {row["name"]: row["value"] for row in found}
    assert values.pop("memory_limit") in ("488.2 MiB", "512.0 MB")
    assert set(values.values()) == {"false"}


def tables(text):
    """The columns of each table in order, of either dialect."""
    found = re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\)", text, re.DOTALL)
    return {name: re.findall(r"(?:^|, )\s*([a-z_]+) ", body, re.MULTILINE) for name, body in found}


def test_the_schema_for_clickhouse_has_the_same_columns():
    ours = tables(query_text("schema"))
    assert set(ours) == {"stalls", "connections", "processes"}
    assert "duration_ms" in ours["stalls"]
    example = tables((Path(__file__).parents[3] / "examples/clickhouse/schema.sql").read_text())
    assert {name: example[name] for name in ours} == ours


def test_queries_use_no_names_that_only_one_engine_has():
    """Functions and parameters in ClickHouse's form; DuckDB takes names in any case."""
    for name in QUERIES[1:]:
        text = query_text(name)
        assert "arg_max" not in text
        assert set(re.findall(r"\{(\w+)", text)) <= {"moment_ms", "skew_ms"}
