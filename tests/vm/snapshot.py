"""The checkout as it was when the run began, laid out as it is installed.

Guests read the host's files as they run: without this, an edit while they do would test a
mixture.
"""

from __future__ import annotations

import compileall
import shutil
from dataclasses import dataclass
from pathlib import Path

from .fetch import CACHE, REPOSITORY

_IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*cache")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`packages` goes onto PYTHONPATH; `root` has pyproject.toml, tests/ and their schema."""

    root: Path

    @property
    def packages(self) -> Path:
        """The directory that holds xctl_probe with fallback and bpf inside it."""
        return self.root / "packages"

    @property
    def guest_tests(self) -> Path:
        """The tests that run in the guest."""
        return self.root / "tests" / "vm" / "guest"


def take() -> Snapshot:
    """Copy what the guests need into the cache, over the copy of an earlier run."""
    snapshot = Snapshot(CACHE / "checkout")
    shutil.rmtree(snapshot.root, ignore_errors=True)
    # Its links are followed: fallback/ and bpf/ are inside, as in an installation.
    shutil.copytree(REPOSITORY / "xctl_probe", snapshot.packages / "xctl_probe", ignore=_IGNORED)
    shutil.copytree(REPOSITORY / "tests", snapshot.root / "tests", ignore=_IGNORED)
    shutil.copy(REPOSITORY / "pyproject.toml", snapshot.root)
    (snapshot.root / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "records.schema.json", snapshot.root / "docs")
    compileall.compile_dir(snapshot.root, quiet=1)  # once here, not at every start in there
    return snapshot
