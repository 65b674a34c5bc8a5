"""Data flows one way: each folder and module imports only what comes before it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORDER = (
    "errors", "figures", "version", "metrics", "events", "fair", "signals", "linux",
    "traffic_totals", "stalls", "protocols", "fallback", "ebpf", "bcc", "exporters",
    "recordings", "prometheus", "otlp", "fleet", "aggregate", "config", "stderr", "sources",
    "status", "pipeline", "commands", "cli", "start", "__main__", "__init__",
)  # fmt: skip
# What comes before and is not for them all the same: sources do not know each other (bcc
# compiles what ebpf loads), and what is written does not depend on where it comes from.
NEVER = {
    "ebpf": {"fallback"},
    "bcc": {"fallback"},
    "exporters": {"bcc", "ebpf", "fallback", "stalls", "traffic_totals"},
}
# The libraries that a folder may import; the kernel source starts with none of them.
LIBRARIES = {
    "config": {"psutil"},
    "fallback": {"numpy"},
    "exporters": {"orjson"},
    "recordings": {"orjson"},
    "otlp": {"google", "opentelemetry"},
    "status": {"orjson"},
    "fleet": {"duckdb", "orjson"},
    "sources": {"psutil"},
    "commands": {"orjson", "psutil", "rich"},
    "cli": {"typer"},
}
FILES = [
    *(path for path in ROOT.glob("xctl_probe/**/*.py") if not path.is_symlink()),
    *ROOT.glob("fallback/*.py"),
]


def place(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "xctl_probe" else parts[1]


def imported(path):
    """Every module that a file imports, anywhere in it, by its absolute name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_imports_only_what_comes_before_it(path):
    here = place(path)
    known = {m.split(".")[1] for m in imported(path) if m.startswith("xctl_probe.")}
    before = set(ORDER[: ORDER.index(here) + 1])
    assert known - before == set()
    assert known & NEVER.get(here, set()) == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_imports_only_its_own_libraries(path):
    used = {m.split(".")[0] for m in imported(path)} - sys.stdlib_module_names - {"xctl_probe"}
    assert used <= LIBRARIES.get(place(path), set())
