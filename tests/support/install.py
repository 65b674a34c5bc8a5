"""The project as a user has it: built into a wheel and installed where anybody may run it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
WORKLOADS = CHECKOUT / "tests" / "workloads"
SOURCES = ("xctl_probe", "fallback", "bpf", "examples", "pyproject.toml", "README.md", "LICENSE")
PYTHON = "/usr/bin/python3"
# Of `why` and `blame`: probes of the host, and of other tests, are not asked.
NO_PROBES = ("--status-dir", "/nonexistent")


@dataclass(frozen=True)
class Installed:
    """Paths that any user may read: the command, its python, the workers and the sources."""

    command: Path
    python: Path
    traffic: Path
    checkout: Path
    wheel: Path


def install(folder: Path) -> Installed:
    """Build the wheel and install it into an empty environment, all below `folder`."""
    checkout = copy_checkout(folder / "checkout")
    traffic = folder / "traffic"
    shutil.copytree(WORKLOADS, traffic, ignore=_CACHES)
    environment = folder / "venv"
    _run(PYTHON, "-m", "venv", str(environment))
    python = environment / "bin" / "python"
    # From a copy of its own: a build in the checkout would carry what an older one left there.
    build = copy_checkout(folder / "build")
    _run(*(str(python), "-m", "pip", "wheel", "-q", "--no-deps"), "-w", str(folder), str(build))
    (wheel,) = folder.glob("*.whl")
    _run(*(str(python), "-m", "pip", "install", "-q", str(wheel)))
    command = environment / "bin" / "xctl-probe-network"
    return Installed(command, python, traffic, checkout, wheel)


def copy_checkout(target: Path) -> Path:
    """The sources of the checkout alone, without what was built or cached in it."""
    target.mkdir()
    for name in SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=_CACHES)
        elif source.exists():
            shutil.copy(source, target / name)
    return target


_CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
