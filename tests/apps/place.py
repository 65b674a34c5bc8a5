"""A host of the test's own: a network namespace with all the servers and clients in it."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from support.namespace import UNPRIVILEGED, Namespace
from support.program import Program
from support.require import require

PYTHON = "/usr/bin/python3"
ACTORS = Path(__file__).parent / "actors"
START_S = 30.0


class Place:
    """Programs run in it as an ordinary user, in a folder that goes with it."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.folder = Path(tempfile.mkdtemp(prefix="xctl-programs-", dir="/tmp"))
        self.folder.chmod(0o777)
        self.programs: list[Program] = []
        # Others than those of another place beside this one: the probe sees both.
        self._ports = count(random.randrange(10_000, 30_000, 100))
        shutil.copytree(ACTORS, self.folder / "actors", ignore=shutil.ignore_patterns("__py*"))
        self._copy_library("websockets")
        self._netns = os.stat(f"/proc/{self.namespace.pid}/ns/net").st_ino

    def port(self) -> int:
        """One that no process has: the namespace is new."""
        return next(self._ports)

    def own(self, name: str) -> Path:
        """A folder that the programs' user owns."""
        folder = self.folder / name
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
        return folder

    def start(self, name: str, *command: object) -> Program:
        words = [*self.namespace.command(), *map(str, command)]
        path = os.environ["PATH"]
        clean = {"PATH": path, "HOME": str(self.folder), "LC_ALL": "C", "PYTHONUNBUFFERED": "1"}
        program = Program(name, words, env=clean | {"PYTHONPATH": str(self.folder / "library")})
        self.programs.append(program)
        return program

    def actor(self, name: str, script: str, *arguments: object) -> Program:
        """One of tests/apps/actors, once it is ready."""
        program = self.start(name, PYTHON, self.folder / "actors" / script, *arguments)
        program.expect("ready")
        return program

    def wait_listening(self, port: int) -> None:
        """Until somebody listens there."""
        self.wait(lambda: port in self._listening(), f"a listener on {port}")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {START_S} s: {what}"
            time.sleep(0.02)

    def pids(self) -> set[int]:
        """Every process in the namespace."""
        found = set()
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/net").st_ino == self._netns:
                    found.add(int(entry))
            except OSError:
                continue
        return found

    @staticmethod
    def stop(*pids: int) -> None:
        """As a hang does: they run no further."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    @staticmethod
    def let_go(*pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def name(self, pid: int | None) -> str:
        """What a process is here, for a person to read."""
        for program in self.programs:
            if program.pid == pid:
                return program.name
        return f"process {pid}"

    def close(self) -> None:
        for program in reversed(self.programs):
            program.end()
        self.namespace.close()
        shutil.rmtree(self.folder)

    def _listening(self) -> set[int]:
        lines = Path(f"/proc/{self.namespace.pid}/net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"}

    def _copy_library(self, name: str) -> None:
        found = importlib.util.find_spec(name)
        require(found, f"the python package {name} is not installed: pip install -e .[dev]")
        source = Path(found.submodule_search_locations[0])
        shutil.copytree(source, self.folder / "library" / name)
