"""The documents: one vocabulary, names that exist, figures that were measured."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.vocabulary import ORDINARY, RETIRED, retired_in

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GLOSSARY = ROOT / "docs/glossary.md"
CODE = [
    path
    for folder in ("xctl_probe", "fallback", "bpf", "bench", "examples", "docs")
    for pattern in ("*.py", "*.c", "*.h")
    for path in sorted((ROOT / folder).rglob(pattern))
    if not any(parent.is_symlink() for parent in path.parents)
]

TESTS = sorted((ROOT / "tests").rglob("*.py"))
TESTS.remove(ROOT / "tests/support/vocabulary.py")  # it lists the words

# Not prose: generated tables, blocks of code, quotes of code, addresses of links.
QUOTED = (
    re.compile(r"<!-- (\w[\w ]*): .*?<!-- \1 end -->", re.DOTALL),
    re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE),
    re.compile(r"`[^`]+`"),
    re.compile(r"\]\([^)]*\)"),
)

REFERENCE = re.compile(r"`([\w./-]+\.(?:py|h|c))::(\w+)`")
FILE = re.compile(r"`((?:xctl_probe|fallback|bpf|tests|docs|bench|examples)/[\w./-]+)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def prose(path):
    """The lines of a page with code, quotes of code and generated tables blanked out."""
    text = path.read_text()
    if path == GLOSSARY:  # its last section lists the retired words
        text = text[: text.index("\n## Retired words")]
    for pattern in QUOTED:
        text = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    return text.splitlines()


def functions(path):
    """Names of the functions that a Python or C file defines."""
    text = path.read_text()
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(text))
        return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return set(re.findall(r"^static [^;{(]*?\b(\w+)\(", text, re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_prose_has_no_retired_word(path):
    found = [
        f"{number}: {match.group()}: {line.strip()}"
        for number, line in enumerate(prose(path), 1)
        for match in RETIRED.finditer(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_has_no_retired_word(path):
    """In names, texts, docstrings and comments."""
    assert retired_in(path) == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_have_no_retired_word(path):
    """In names, docstrings and comments: their strings are also what others print."""
    assert retired_in(path, strings=False) == []


def test_each_retired_word_of_the_glossary_is_refused():
    """What the page lists and the test does not refuse is a common word with its plain meaning."""
    rows = GLOSSARY.read_text().split("\n## Retired words")[1].splitlines()
    words = {
        word.strip()
        for row in rows
        if row.startswith("| ") and "retired" not in row
        for word in re.sub(r"\([^)]*\)", "", row.split("|")[1]).split(",")
    }
    assert len(words) > 20
    assert {word for word in words if not RETIRED.search(word)} == ORDINARY


def test_each_stall_rule_names_a_function_that_exists():
    named = REFERENCE.findall((ROOT / "docs/stalls.md").read_text())
    assert len(named) > 40
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in functions(ROOT / path)
    ]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_file_that_a_page_names_exists(path):
    text = path.read_text()
    missing = [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    missing += [link for link in LINK.findall(text) if not (path.parent / link).exists()]
    assert missing == []


def test_the_cost_in_the_readme_is_the_measured_one():
    """docs/performance.md is made of the results; the README repeats a few of its figures."""
    text = " ".join((ROOT / "README.md").read_text().split())
    rows = (ROOT / "docs/performance.md").read_text().splitlines()

    def row(name):
        (line,) = (line for line in rows if line.startswith(f"| `{name}`:"))
        return [cell.strip() for cell in line.strip("|").split("|")]

    def added(name):
        return [cell.split()[0] for cell in row(name)[5:7]]  # ns a call by UDP, by TCP

    udp, tcp = added("ebpf")
    assert f"a 64-byte UDP call takes {udp} ns longer and a TCP call {tcp} ns" in text
    empty, bpftrace = added("empty"), added("bpftrace")
    assert f"add {empty[0]} and {empty[1]} ns" in text
    assert f"one-liner {bpftrace[0]} and {bpftrace[1]} ns" in text
    assert f"takes {row('ebpf')[2]} MiB" in text
    (memory,) = (r for r in rows if r.startswith("| kernel memory with 10,000 sockets, ebpf"))
    assert f"{memory.split('|')[3].strip()} in the kernel" in text
    shares = re.findall(
        r"^\| ebpf \| [\d,]+ \| ([\d.]+) \|$",
        (ROOT / "docs/bench/README.md").read_text().split("### Over calls")[1],
        re.MULTILINE,
    )
    assert f"{min(shares, key=float)} to {max(shares, key=float)} % of a core" in text
