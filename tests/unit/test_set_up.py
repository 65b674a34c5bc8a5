"""The script that installs the programs of the set-up, with an apt-get of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.require import require

SCRIPT = Path(__file__).parents[2] / ".ci/programs"
LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt-get)"


@pytest.fixture
def install(tmp_path):
    """Install a program with an apt-get that fails so often, with these words."""

    def run(failures, words):
        require(os.geteuid() == 0, "only root installs")
        left = tmp_path / "left"
        left.write_text(f"{failures}\n")
        for name, lines in {
            "apt-get": (
                f"read -r left <{left}",
                f'if [ "$left" != 0 ]; then echo $((left - 1)) >{left}',
                f'echo "{words}" >&2; exit 100; fi',
                f'echo "$@" >>{tmp_path}/done',
            ),
            "sleep": (":",),
        }.items():
            program = tmp_path / name
            program.write_text("\n".join(("#!/bin/sh", *lines, "")))
            program.chmod(0o755)
        return subprocess.run(
            [SCRIPT, "none-of-this-name:first-package", "sh:dash", "nor-this:second-package"],
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_what_is_missing_is_installed(install, tmp_path):
    done = install(0, "")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "installing first-package second-package ...\n"
    update, packages = (tmp_path / "done").read_text().splitlines()
    assert update == "-qq update"
    assert packages.endswith("--no-install-recommends first-package second-package")


def test_another_apt_get_is_waited_for(install, tmp_path):
    """A new machine installs its updates by itself at first."""
    done = install(3, LOCKED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("waiting for another apt-get ...\n") == 3
    assert "second-package" in (tmp_path / "done").read_text()


@pytest.mark.parametrize(("failures", "words"), [(1, "E: Unable to fetch"), (10**6, LOCKED)])
def test_what_else_fails_is_shown(install, failures, words):
    done = install(failures, words)
    assert (done.returncode, done.stderr) == (1, f"{words}\n")
