"""Small C programs: they do nothing but the calls, so the machine is the limit."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.place import as_anybody
from bench.traffic import Outcome

_SOURCES = Path(__file__).parent


@cache
def build_folder() -> Path:
    """A directory that goes away with the benchmark."""
    folder = Path(tempfile.mkdtemp(prefix="xctl-bench-"))
    folder.chmod(0o777)  # the servers write there, and have no privileges
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def build(name: str) -> Path:
    """The program, compiled as `gcc -O2` does it.  Raises CalledProcessError."""
    target = build_folder() / name
    subprocess.run(["cc", "-O2", "-o", target, _SOURCES / f"{name}.c"], check=True)
    return target


@dataclass(frozen=True, slots=True)
class Program:
    """One of the programs, which times itself."""

    path: Path
    options: tuple[str, ...] = ()

    def run(self, seconds: float) -> Outcome:
        """Traffic for so long, or a little longer."""
        done = subprocess.run(
            [*as_anybody(), self.path, str(seconds), *self.options],
            check=True,
            stdout=subprocess.PIPE,
        )
        result = json.loads(done.stdout)
        return Outcome(
            result["operations"] / result["seconds"],
            result["p50_us"],
            result["p99_us"],
            result["calls"],
            result["seconds"],
            result["cpu_seconds"],
        )


@contextmanager
def program(name: str, *options: str) -> Iterator[Program]:
    """The program, ready to run."""
    yield Program(build(name), options)
