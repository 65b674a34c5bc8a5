"""`xctl-probe-network why` of the processes of a job, while a fault is on."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.process import Process
from evaluation.room import Room
from evaluation.watcher import COMMAND, SOURCES

ANSWER_S = 30


@dataclass
class Answer:
    """What `why` answered of a process, with a source's user; None: it answered an error."""

    source: str
    who: str
    answer: dict[str, Any] | None

    @property
    def waits(self) -> bool | None:
        return self.answer["waits"] if self.answer else None

    @property
    def connection(self) -> tuple[str, str] | None:
        """Local and remote address of the wait that is named first."""
        waits = [one for one in self.answer["findings"] if one["waits"]] if self.answer else []
        inode = waits[0]["inode"] if waits else None
        sockets = self.answer["tcp"] if self.answer else []
        return next(((s["local"], s["remote"]) for s in sockets if s["inode"] == inode), None)


def ask(room: Room, sources: Sequence[str], processes: Sequence[Process]) -> list[Answer]:
    """Ask about each process as the user of each source, all at once."""
    started = []
    for source, process in itertools.product(sources, processes):
        prefix = room.namespace(process.host).command(SOURCES[source][0])
        words = [*prefix, str(COMMAND), "why", str(process.pid), "--json"]
        running = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd="/tmp",
        )  # fmt: skip
        started.append((source, process.name, running))
    answers = []
    for source, who, running in started:
        try:
            answer = json.loads(running.communicate(timeout=ANSWER_S)[0])
        except (ValueError, subprocess.TimeoutExpired):
            running.kill()
            answer = None
        answers.append(Answer(source, who, answer))
    return answers
