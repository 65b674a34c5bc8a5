"""The man page and the completions are those of the command as it is."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer

from xctl_probe.cli import app
from xctl_probe.config.options import OPTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    """docs/generate.py, which is a program and no package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_would_be_made(generate):
    """`make docs` renews them."""
    committed = {path.name: path.read_text() for path in generate.FOLDER.iterdir()}
    assert committed == generate.files()
    assert generate.BLIND_SPOTS_PAGE.read_text() == generate.blind_spots()
    assert generate.OPTIONS_PAGE.read_text() == generate.options()


def test_the_page_of_options_has_each_default(generate):
    """Also one of 0; a flag has none that a reader needs."""
    rows = [line.split(" | ") for line in generate.options().splitlines()]
    defaults = {row[0].strip("| `"): row[2] for row in rows if row[0].startswith("| `--")}
    for option in OPTIONS:
        if option.kind is not bool and option.default is not None and not option.hidden:
            assert defaults[f"--{option.name}"] == str(option.default)


def test_what_is_made_is_installed(generate):
    """Each file has its place below the prefix."""
    places = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    installed = [Path(path).name for paths in places["data-files"].values() for path in paths]
    assert sorted(installed) == sorted(generate.files())


def test_the_page_has_every_option_and_command(generate):
    """Nothing has to be looked up in the source."""
    page = generate.man_page().replace("\\-", "-")
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert f"\\fB{name}\\fR" in page
        for option in [*group.params, *command.params]:
            if option.param_type_name == "option" and not option.hidden:
                assert f"\\fB{option.opts[0]}\\fR" in page


def test_the_page_is_good_roff(generate):
    """No request is unknown, no text is taken for one."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-Tascii", "-ww"],
        input=generate.man_page(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "Seconds between two reports" in " ".join(done.stdout.split())
