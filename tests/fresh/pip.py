"""How pip gets its packages on this machine: the same settings hold in a clean one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

# Where a clean root has this machine's files: at their own places packages would find them.
THERE = "/run/host"
_LINE = re.compile(r"(?:global|install|:env:)\.([a-z-]+)=(.*)")


def settings() -> tuple[dict[str, str], list[str]]:
    """Environment variables for pip, and the paths of this machine that it reads below THERE."""
    command = (sys.executable, "-m", "pip", "config", "list")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    variables: dict[str, str] = {}
    paths: set[str] = set()
    for line in done.stdout.splitlines():  # what the environment states comes first, and counts
        if found := _LINE.fullmatch(line):
            name = "PIP_" + found[1].replace("-", "_").upper()
            words = str(ast.literal_eval(found[2])).split()
            variables.setdefault(name, " ".join(_moved(word) for word in words))
            paths.update(filter(None, map(_path, words)))
    variables.pop("PIP_CACHE_DIR", None)
    return variables, sorted(paths)


def _path(word: str) -> str | None:
    """The folder or file that is read; of an index its parent, as the files lie beside it."""
    path = Path(word.removeprefix("file://"))
    if not path.is_absolute() or not path.exists():
        return None
    return str(path.parent if word.startswith("file://") else path)


def _moved(word: str) -> str:
    if _path(word) is None:
        return word
    scheme = "file://" if word.startswith("file://") else ""
    return f"{scheme}{THERE}{word.removeprefix(scheme)}"
