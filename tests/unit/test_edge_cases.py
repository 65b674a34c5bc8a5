"""The edge cases name tests that exist; every declared blind spot has traffic that shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.paths import BLIND_SPOTS_OF

from xctl_probe.sources.blind_spots import BLIND_SPOTS

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "edge-cases.md"
DECLARED = {spot.key for spots in BLIND_SPOTS.values() for spot in spots}


def functions(path):
    return {
        node.name
        for node in ast.walk(ast.parse((TESTS / path).read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def test_each_test_that_the_page_names_exists():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 40
    assert [f"{path}::{test}" for path, test in named if test not in functions(path)] == []


def test_each_blind_spot_is_shown_by_traffic():
    """A key that no test asks about could be anything."""
    asked = {
        key
        for path in (TESTS / "integration/blind_spots").glob("test_*.py")
        for key in re.findall(r'agrees\(\s*"(\w+)"', path.read_text())
    }
    for path in (
        "integration/test_namespaces.py",
        "integration/test_equals.py",
        "integration/test_spinning.py",
        "ebpf/test_owners.py",
    ):
        asked |= set(re.findall(r'(?:sees\(|= )"(\w+)"', (TESTS / path).read_text())) & DECLARED
    asked |= {key for hidden in BLIND_SPOTS_OF.values() for key in (*hidden.sent, *hidden.received)}
    assert asked == DECLARED


def test_each_way_that_the_worker_knows_has_its_blind_spots():
    source = ast.parse((TESTS / "workloads/paths.py").read_text())
    (table,) = (
        node.value
        for node in ast.walk(source)
        if isinstance(node, ast.AnnAssign) and node.target.id == "PATHS"
    )
    assert {key.value for key in table.keys} == BLIND_SPOTS_OF.keys()
