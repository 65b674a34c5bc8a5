"""The pages name every option, key and figure, and the completion offers every option.

Options and their variables: also test_cli.py and test_docs_fresh.py; fields of records:
support/test_records_schema.py; metrics: prometheus/test_examples.py, otlp/test_conventions.py.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import typing
from pathlib import Path

import pytest
import typer
from typer._completion_classes import BashComplete

from xctl_probe import cli
from xctl_probe.metrics import Metric
from xctl_probe.status.document import Status

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GROUP = typer.main.get_command(cli.app)
COMMANDS = {"": GROUP, **GROUP.commands}


def options(command):
    """Long options that --help of a command shows."""
    return {
        word
        for param in command.params
        if param.param_type_name == "option" and not param.hidden
        for word in param.opts
        if word.startswith("--")
    }


def keys_of(kind):
    """Every key of the JSON of a dataclass, and of the dataclasses in it."""
    for name, hint in typing.get_type_hints(kind).items():
        yield name
        for part in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(part):
                yield from keys_of(part)


def names(text, word):
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)


@pytest.mark.parametrize("command", GROUP.commands)
def test_some_page_names_each_option_of_a_command(command):
    text = "\n".join(path.read_text() for path in (ROOT / "README.md", *DOCS.glob("*.md")))
    assert [word for word in options(GROUP.commands[command]) if not names(text, word)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_completion_offers_each_option(command):
    asked = BashComplete(GROUP, {}, "xctl-probe-network", "_XCTL_PROBE_NETWORK_COMPLETE")
    offered = asked.get_completions([command] if command else [], "--")
    assert {one.value for one in offered} >= options(COMMANDS[command])


def test_the_page_of_status_names_each_key():
    text = (DOCS / "status.md").read_text()
    assert [key for key in keys_of(Status) if not names(text, key)] == []


@pytest.mark.parametrize("page", ["options.md", "performance.md"])
@pytest.mark.parametrize("metric", Metric)
def test_each_metric_is_on_the_pages(page, metric):
    assert names((DOCS / page).read_text(), metric)


def test_the_schema_has_the_keys_that_the_exporter_writes():
    """No more and no fewer, of records and of `net`."""
    schema = json.loads((DOCS / "records.schema.json").read_text())
    known = set()
    for one in schema["$defs"].values():
        properties = one.get("properties", {})
        if "net" in properties:
            known |= properties.keys() | properties["net"]["properties"].keys()
    folder = ROOT / "xctl_probe/exporters"
    trees = [ast.parse((folder / name).read_text()) for name in ("ndjson.py", "origin.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    keys = [key for node in nodes if isinstance(node, ast.Dict) for key in node.keys]
    keys += [node.slice for node in nodes if isinstance(node, ast.Subscript)]
    written = {key.value for key in keys if isinstance(key, ast.Constant)}
    assert {key for key in written if isinstance(key, str)} == known | {"rx", "tx"}  # of packets
