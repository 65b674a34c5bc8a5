"""CONTRIBUTING, CHANGELOG, the decisions and the version hold what they promise."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "docs/releasing.md")]
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
RECIPES = ("a record", "a cause", "an option", "a hook", "an exporter", "a source of counters")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# What is written in code but is no path: it has no suffix of a file and no slash at its end.
PATH = re.compile(r"[\w./-]+(?:\.(?:py|md|json|jsonl|toml|c|h)|/)|\.ci/\w+|tests/\w+|Makefile")


MADE = ("build/", "dist/")  # by make, where it was asked


def code(page):
    """Everything that a page has between backquotes, blocks included."""
    return re.findall(r"`+([^`]+)`+", page.read_text())


def paths(page):
    return [word for word in code(page) if PATH.fullmatch(word)]


def links(page):
    return [to for to in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in to]


def help_of(target):
    makefile = (ROOT / "Makefile").read_text()
    return re.search(rf"^{target}:.*## (.*)", makefile, re.MULTILINE)[1]


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: page.stem)
def test_every_path_that_a_page_names_exists(page):
    assert [path for path in paths(page) if not (path in MADE or (ROOT / path).exists())] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_names_files_of_the_package_and_tests(recipe):
    text = (ROOT / "CONTRIBUTING.md").read_text().split(f"\n### {recipe}\n")[1].split("\n#")[0]
    named = {word.split("/")[0] for word in re.findall(r"`([^`]+)`", text)}
    assert {"xctl_probe", "tests"} <= named
    assert re.findall(r"^(\d)\.", text, re.MULTILINE) == list("123456789")[: text.count("\n") - 1]


def test_paths_are_found():
    """A list of nothing would exist, too."""
    assert len(paths(PAGES[0])) > 40


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md", *DECISIONS], ids=lambda page: page.stem
)
def test_every_link_leads_to_a_file(page):
    assert [to for to in links(page) if not (page.parent / to).exists()] == []


def test_every_make_target_that_a_page_names_exists():
    named = {
        target
        for page in (*PAGES, ROOT / "CHANGELOG.md")
        for target in re.findall(r"make ([a-z-]{2,})", page.read_text())
    }
    assert named <= TARGETS
    assert {"test-unit", "test-integration", "test-ebpf", "test-vm"} <= TARGETS


@pytest.mark.parametrize("target", ["test-unit", "test-integration", "test-ebpf", "test-vm"])
def test_each_tier_of_tests_has_a_duration_in_make_help(target):
    assert re.search(r"minute|hour", help_of(target))


def test_ci_runs_rdma_on_kernels_of_which_some_count_its_bytes():
    """Soft RoCE counts them from Linux 7.2 on."""
    run = (ROOT / ".ci/run").read_text()
    (kernels,) = re.findall(r'^KERNELS=(\S+) make test-kernels ARGS="-k test_rdma.py"$', run, re.M)
    assert kernels.split(",") == ["6.1", "sid"]


def test_index_has_every_decision():
    index = (DECISIONS[0].parent / "README.md").read_text()
    listed = re.findall(r"\[(\d{4})\]\(([^)]+)\) \| (.+) \|", index)
    assert [name for _, name, _ in listed] == [page.name for page in DECISIONS]
    for page, (number, _, title) in zip(DECISIONS, listed, strict=True):
        assert page.read_text().startswith(f"# {number}: {title}\n")


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_each_decision_has_its_parts_and_figures(page):
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S))
    assert list(parts) == ["Context", "Decision", "Consequences", "Figures"]
    assert re.search(r"\d", parts["Figures"]) or page.stem.startswith("0006")


def test_each_package_is_installed():
    """A wheel has those that are listed only; a checkout would work without."""
    folders = {path.parent for path in (ROOT / "xctl_probe").rglob("*.py")}
    folders |= {ROOT / "xctl_probe/fallback", ROOT / "xctl_probe/bpf"}  # links
    assert {".".join(folder.relative_to(ROOT).parts) for folder in folders} == set(PACKAGES)


def test_version_is_that_of_pyproject():
    """The one source; the installed metadata is made from it."""
    assert importlib.metadata.version(PROJECT["name"]) == PROJECT["version"]


def test_no_other_file_has_the_version():
    for path in (*ROOT.glob("xctl_probe/**/*.py"), *ROOT.glob("fallback/*.py"), ROOT / "README.md"):
        assert f'"{PROJECT["version"]}"' not in path.read_text()


def test_checkout_that_is_not_installed_has_no_version():
    """The same modules without the metadata beside them."""
    words = [sys.executable, str(ROOT / "tests/workloads/without_metadata.py"), "--version"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "xctl-probe-network (not installed: run from a checkout)\n"
    assert done.returncode == 0


def test_changelog_has_the_version_or_changes_that_lead_to_it():
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"
    released = re.escape(PROJECT["version"])
    text = (ROOT / "CHANGELOG.md").read_text()
    assert PROJECT["version"] in sections or re.search(rf"leads to {released}", text)


def test_changelog_keeps_to_the_known_kinds_of_change():
    kinds = set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_an_installation_has_every_package():
    folders = {path.parent for path in (ROOT / "xctl_probe").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert names <= set(PACKAGES)
