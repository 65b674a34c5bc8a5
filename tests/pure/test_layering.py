"""Data flows one way: which module may import which, read from the source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"xctl_probe": "xctl_probe", "xctl_probe.fallback": "fallback"}

# A stage and the modules of the package that it may know, at run time and for its types.
STAGES = {
    "addresses": set(),
    "budget": set(),
    "blind_spots": set(),
    "calls": set(),
    "capabilities": set(),
    "diagnostics": {"text"},
    "dialogue": set(),
    "errors": set(),
    "facts": set(),
    "interfaces": {"facts", "links"},
    "links": {"netlink"},
    "netlink": set(),
    "outlet": set(),
    "output": {"errors"},
    "owners": {"facts", "tasks"},
    "patience": set(),
    "records": {"addresses", "facts"},
    "search": {"budget", "owners"},
    "settings": {"errors", "patience", "window"},
    "signals": set(),
    "tasks": set(),
    "text": {"records"},
    "window": {"facts", "fair", "records"},
    "writer": {"errors", "facts", "fair", "outlet", "records"},
    # These compose the others.
    "stream": {"errors", "facts", "interfaces", "settings", "signals", "window", "writer"},
    "sources": {
        "addresses", "bcc.source", "ebpf.source", "errors", "facts", "fallback.sampler",
        "owners", "settings",
    },
    "tracing": {
        "addresses", "diagnostics", "ebpf.trace", "records", "settings", "signals", "text",
    },
    "cli": {
        "capabilities", "check.command", "diagnostics", "errors", "records", "settings",
        "sources", "stream", "text", "top.command", "tracing", "why.command", "writer",
    },
    "start": {"cli"},
    "__main__": {"start"},
    "__init__": set(),
}  # fmt: skip

# What a source may know of the package outside its own folder.
SOURCES_MAY_KNOW = {
    "addresses", "budget", "dialogue", "errors", "facts", "netlink", "owners", "patience", "search",
}  # fmt: skip
# What all sources share knows none of them.
PEERS_MAY_KNOW = {
    "budget", "calls", "dialogue", "facts", "netlink", "owners", "patience",
}  # fmt: skip
# The folder of each, and what of the package is its own; bcc compiles what ebpf brings along.
SOURCES = {
    "fallback": {"fallback"},
    "xctl_probe/ebpf": {"bpf", "ebpf"},
    "xctl_probe/bcc": {"bcc", "bpf", "ebpf"},
}
STANDARD = sys.stdlib_module_names
THIRD_PARTY = {
    "settings": {"psutil"},
    "records": {"orjson"},
    "tracing": {"orjson"},
    "cli": {"typer"},
}


def imported(path):
    """Every module that a file imports, anywhere in it, by its absolute name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports by a relative name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (_file(inner) is not None) and node.module.startswith("xctl_probe")
                found.add(inner if is_module else node.module)
    return found


def _file(module):
    *package, name = module.split(".")
    folder = FOLDERS.get(".".join(package), "/".join(package))
    path = ROOT / folder / f"{name}.py"
    return path if path.is_file() else None


def ours(modules):
    return {m.removeprefix("xctl_probe.") for m in modules if m.startswith("xctl_probe.")}


def test_the_test_finds_imports():
    """It would pass on a reader of imports that finds none."""
    found = imported(ROOT / "xctl_probe/writer.py")
    assert {"select", "time", "xctl_probe.facts", "xctl_probe.records"} <= found


def test_every_stage_is_listed():
    """A new module gets its place in the order, here."""
    assert {path.stem for path in (ROOT / "xctl_probe").glob("*.py")} == STAGES.keys()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_what_comes_before_it(stage):
    """Stages know the types that they take and give, and not each other."""
    assert ours(imported(ROOT / f"xctl_probe/{stage}.py")) <= STAGES[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_needs_only_its_own_libraries(stage):
    """The pure part works without libbpf, bcc, root, or anything not declared."""
    outside = {m.partition(".")[0] for m in imported(ROOT / f"xctl_probe/{stage}.py")}
    assert outside - STANDARD - {"xctl_probe"} <= THIRD_PARTY.get(stage, set())


@pytest.mark.parametrize(
    "path",
    sorted(path for own in SOURCES for path in ROOT.glob(f"{own}/*.py")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_source_knows_facts_and_no_stage_after_them(path):
    """Sources hand over facts: no window, record, writer or setting, and not the other source."""
    own = SOURCES[path.parent.relative_to(ROOT).as_posix()] | {"peers"}
    known = {m for m in ours(imported(path)) if m.partition(".")[0] not in own}
    assert known <= SOURCES_MAY_KNOW


@pytest.mark.parametrize(
    "path", sorted((ROOT / "xctl_probe/peers").glob("*.py")), ids=lambda path: path.stem
)
def test_what_the_sources_share_knows_none_of_them(path):
    """The rules on replies take a socket and a time, from whichever source has them."""
    known = {m for m in ours(imported(path)) if not m.startswith("peers.")}
    assert known <= PEERS_MAY_KNOW


def test_nothing_imports_in_a_circle():
    """The order is one: every module can be put behind all that it imports."""
    allowed = {stage: set(may) & STAGES.keys() for stage, may in STAGES.items()}
    order = []
    while ready := [s for s, may in allowed.items() if s not in order and may <= {*order}]:
        order += ready
    assert set(order) == STAGES.keys()
