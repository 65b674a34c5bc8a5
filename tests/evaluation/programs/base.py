"""A program under evaluation: how it starts, its faults, and what is true while they are on."""

from __future__ import annotations

import random
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from evaluation.faults import Applied, apply
from evaluation.process import JobError, Process
from evaluation.room import Room
from evaluation.truth import Truth

WORKLOADS = Path(__file__).parents[1] / "workloads"
PYTHON = "/usr/bin/python3"
# Of the libraries that `make eval` installs from PyPI.
LIBRARIES = Path(__file__).parents[3] / "build/evaluation/venv/bin/python"
STEADY_S = 180.0
STEADY_STEPS = 20
PORTS = random.SystemRandom().randrange(21_000, 29_000)


class Program(ABC):
    """One program in one room.

    `faults` lists by layout what is injected; `none` is an injection of nothing.  `hosts` is how
    many hosts the layout `several` has, `watched` those on which the probe runs.
    """

    name: ClassVar[str]
    needs: ClassVar[str] = ""
    hosts: ClassVar[int] = 2
    watched: ClassVar[tuple[int, ...]] = (0,)
    faults: ClassVar[dict[str, tuple[str, ...]]]
    recovery_steps: ClassVar[int] = 3
    recovery_s: ClassVar[float] = 60.0

    def __init__(self, room: Room, rng: random.Random) -> None:
        self.room, self.rng = room, rng
        self.port = PORTS + rng.randrange(1000)

    @classmethod
    def missing(cls) -> str:
        """Why this program cannot run here, with the remedy; empty where it can."""
        return ""

    @abstractmethod
    def start(self) -> None:
        """Start all processes."""

    @abstractmethod
    def targets(self, fault: str) -> list[str]:
        """The processes that a fault may be applied to."""

    @abstractmethod
    def truth(self, fault: str, target: str) -> Truth:
        """What is true while `fault` is on at `target`."""

    def inject(self, fault: str, target: str, seconds: float) -> Applied:
        return apply(fault, self.room, self.room.processes[target], seconds)

    def workers(self) -> list[Process]:
        """The processes whose steps show that the program works."""
        return list(self.room.processes.values())

    def wait_steady(self) -> None:
        self._wait_steps({one.name: STEADY_STEPS for one in self.workers()}, STEADY_S)

    def wait_recovered(self) -> None:
        """Wait until each worker has made some steps from now on."""
        goal = {one.name: one.steps + self.recovery_steps for one in self.workers()}
        self._wait_steps(goal, self.recovery_s)

    def revive(self, target: str) -> None:  # noqa: ARG002 - for programs that start it alone
        """Start again what a fatal fault ended; by default, all."""
        for process in self.room.processes.values():
            process.end()
        self.start()
        self.wait_steady()

    def _wait_steps(self, goals: dict[str, int], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self.workers():
            while process.steps < goals[process.name]:
                if time.monotonic() > deadline or process.dead:
                    raise JobError(f"{process.name} makes no steps: {process.story()}")
                time.sleep(0.05)

    def python(self, name: str, host: int, script: str, *arguments: object) -> Process:
        """Start one of the workloads."""
        return self.room.spawn(name, host, [PYTHON, str(WORKLOADS / script), *arguments])

    def library(self, name: str, host: int, script: str, *arguments: object) -> Process:
        """The same by the Python that has the libraries of PyPI."""
        return self.room.spawn(name, host, [LIBRARIES, str(WORKLOADS / script), *arguments])

    @staticmethod
    def module(name: str) -> str:
        """Why a module of PyPI cannot be used, or an empty text."""
        if not LIBRARIES.exists():
            return "make eval installs the libraries of PyPI"
        done = subprocess.run([LIBRARIES, "-c", f"import {name}"], capture_output=True, check=False)
        return "" if done.returncode == 0 else f"no module {name}: rm -r build/evaluation/venv"
