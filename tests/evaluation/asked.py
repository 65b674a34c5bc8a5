"""`why` and `blame` of the processes of a job, while a fault is on."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.process import Process
from evaluation.room import Room
from evaluation.watcher import COMMAND, SOURCES, status_directory

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


@dataclass
class Blamed:
    """Whom `blame --pid` named of a process that waits; None: it answered an error."""

    source: str
    who: str
    answer: dict[str, Any] | None

    def named(self) -> Iterator[tuple[int | None, list[tuple[str, str]]]]:
        """The pid of each culprit, or else the local and remote addresses of the waits for it."""
        processes = {one["pid"]: one for one in (self.answer or {}).get("processes", [])}
        for culprit in (self.answer or {}).get("culprits", []):
            if culprit["pid"] is not None:
                yield culprit["pid"], []
            elif culprit["dead_lock"]:
                yield from ((pid, []) for pid in culprit["dead_lock"])
            else:
                waits = (wait for pid in culprit["waiters"] for wait in processes[pid]["waits"])
                yield (
                    None,
                    [
                        (wait["local"], wait["remote"])
                        for wait in waits
                        if wait["peer_pid"] is None
                        and wait["remote"].rpartition(":")[0].strip("[]") == culprit["address"]
                    ],
                )


def ask(room: Room, sources: Sequence[str], processes: Sequence[Process]) -> list[Answer]:
    """Ask `why` of each process as the user of each source, whose probes run, all at once."""
    started = [
        (source, process.name, _start(room, source, process, "why", str(process.pid), "--json"))
        for source, process in itertools.product(sources, processes)
    ]
    return [Answer(source, who, _answer(running)) for source, who, running in started]


def ask_blame(room: Room, sources: Sequence[str], process: Process) -> list[Blamed]:
    """Ask `blame` of a process as `ask` does, the sources one by one."""
    found = []
    for source in sources:
        words = "blame", "--pid", str(process.pid), "--json"
        answer = _answer(_start(room, source, process, *words))
        found.append(Blamed(source, process.name, answer))
    return found


def _start(room: Room, source: str, process: Process, *words: str) -> subprocess.Popen[bytes]:
    prefix = room.namespace(process.host).command(SOURCES[source][0])
    place = str(status_directory(room, source, process.host))
    return subprocess.Popen(
        [*prefix, str(COMMAND), "--status-dir", place, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd="/tmp",
    )  # fmt: skip


def _answer(running: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    try:
        return json.loads(running.communicate(timeout=ANSWER_S)[0])
    except (ValueError, subprocess.TimeoutExpired):
        running.kill()
        return None
