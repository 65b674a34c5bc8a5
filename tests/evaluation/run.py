"""One program in one room: healthy phases and injections in turn, and the comparison."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.asked import Answer, Blamed, ask, ask_blame
from evaluation.compare import Observed, Window, blame, compare, stalls, waited, why
from evaluation.faults import now_ms
from evaluation.process import JobError, Process
from evaluation.programs.base import Program
from evaluation.results import Healthy, Injection, Results
from evaluation.room import Room
from evaluation.truth import Truth
from evaluation.watcher import Watcher

FAULT_S = (5.0, 12.0)
# What a healthy phase consists of, besides the usual work, and how long each of it lasts.
HEALTHY = ("none", "idle", "slow", "epoch", "evaluate")
HEALTHY_S = (5.0, 30.0)
SETTLE_S = 4.0
WHY_AT = 0.4  # of a fault, which then lasts longer
WHY_S = 15.0
# Each takes a second of a core; more would make the faults longer.
ASKED_MAX = 2
SOCKETS_EVERY_S = 0.5


@dataclass
class Plan:
    """What to run: `faults` in this order; `sources` observe at the same time.

    `options` are more options of the probe; `why`: also ask `blame` and `why` during each
    fault.  With `healthy_s` the program stays healthy that long, and `faults` (of HEALTHY) come in
    turn: all of it is one healthy phase, and no injection.
    """

    program: type[Program]
    layout: str
    faults: Sequence[str]
    sources: Sequence[str]
    seed: int
    interval_s: float
    folder: Path
    options: Sequence[str] = ()
    why: bool = False
    healthy_s: float = 0.0

    def in_turn(self) -> Iterator[str]:
        """The faults, one after the other; begins to count `healthy_s` with the first."""
        if not self.healthy_s:
            yield from self.faults
            return
        until = time.monotonic() + self.healthy_s
        for number in itertools.count():
            if time.monotonic() >= until:
                return
            yield self.faults[number % len(self.faults)]


@dataclass
class _Done:
    fault: str
    target: str
    window: Window
    answers: list[Answer]
    blamed: list[Blamed]


class Sockets(threading.Thread):
    """Remembers which process held which socket, while the room is open."""

    def __init__(self, room: Room) -> None:
        super().__init__(daemon=True)
        self._room, self._over = room, threading.Event()
        self.held: dict[tuple[str, str], int] = {}
        self.names: dict[int, str] = {}

    def run(self) -> None:
        while not self._over.wait(SOCKETS_EVERY_S):
            self.refresh()

    def refresh(self) -> None:
        self.names |= self._room.names_by_pid()
        self.held |= self._room.sockets()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def peer(self, local: str, remote: str) -> str | None:
        """The name of the process behind the remote address of a connection."""
        pid = self.held.get((remote, local)) or self.held.get((remote, "*"))
        port = remote.rpartition(":")[2]
        for anywhere in ("0.0.0.0", "*", "[::]"):
            pid = pid or self.held.get((f"{anywhere}:{port}", "*"))
        return self.names.get(pid) if pid else None


def run(plan: Plan, results: Results, report: Callable[[str], None]) -> None:
    """Run a plan and add what came of it to `results`; a program that fails is an error there."""
    rng = random.Random(f"{plan.seed} {plan.program.name} {plan.layout}")
    room = Room(plan.layout, plan.program.hosts, plan.folder)
    sockets = Sockets(room)
    watchers: list[Watcher] = []
    done: list[_Done] = []
    unknown_from: int | None = None  # a program that does not recover may truly wait from then on
    begun = time.monotonic()
    try:
        watchers = _watch(plan, room)
        program = plan.program(room, rng)
        sockets.start()
        program.start()
        program.wait_steady()
        time.sleep(SETTLE_S)
        for fault in plan.in_turn():
            time.sleep(rng.uniform(*FAULT_S))
            target = rng.choice(program.targets(fault))
            report(f"{plan.program.name} {plan.layout}: {fault} at {target}")
            seconds = rng.uniform(*(HEALTHY_S if plan.healthy_s else FAULT_S))
            seconds += WHY_S if plan.why and fault not in HEALTHY else 0.0
            unknown_from = now_ms()
            done.append(_inject(plan, program, fault, target, seconds, sockets))
            unknown_from = None
    except (JobError, AssertionError, OSError) as error:
        text = f"{plan.program.name} {plan.layout}: {error}"
        results.errors.append(text)
        report(text)
    finally:
        time.sleep(2.5 * plan.interval_s)
        for watcher in watchers:
            watcher.close()
        sockets.refresh()
        if sockets.is_alive():
            sockets.stop()
        room.close()
    for watcher in watchers:
        watcher.forget_after(unknown_from)
    in_faults = 0.0
    if not plan.healthy_s:
        in_faults = sum((one.window.recovered - one.window.at) / 1000 for one in done)
    if unknown_from is not None:
        in_faults += (now_ms() - unknown_from) / 1000
    seconds = time.monotonic() - begun - in_faults
    healthy = Healthy(plan.program.name, plan.layout, seconds, alone=plan.healthy_s > 0)
    _add(plan, room, sockets, watchers, done, healthy, results)


def _watch(plan: Plan, room: Room) -> list[Watcher]:
    """The kernel source observes all hosts at once; the sampler needs one on each."""
    hosts = plan.program.watched if plan.layout == "several" else (0,)
    watchers = [
        Watcher(room, host, source, plan.interval_s, plan.options)
        for source in plan.sources
        for host in (hosts if source == "sampler" else hosts[:1])
    ]
    for watcher in watchers:
        watcher.wait_ready()
    return watchers


def _inject(
    plan: Plan, program: Program, fault: str, target: str, seconds: float, sockets: Sockets
) -> _Done:
    sockets.refresh()
    applied = program.inject(fault, target, seconds)
    truth = program.truth(fault, target)
    answers: list[Answer] = []
    blamed: list[Blamed] = []
    if plan.why:
        _sleep_until(applied.at + WHY_AT * seconds * 1000)
        processes = _to_ask(plan, program, truth)
        waiting = [one for one in processes if one.name not in truth.culprits]
        blamed = ask_blame(program.room, plan.sources, waiting[0]) if waiting else []
        answers = ask(program.room, plan.sources, processes)
        if now_ms() > applied.at + seconds * 1000:
            answers, blamed = [], []  # too late to be true for certain: a busy machine
    _sleep_until(applied.at + seconds * 1000)
    sockets.refresh()
    applied.heal()
    healed = now_ms()
    if applied.fatal:
        # What is started again is healthy.
        window = Window(applied.at, healed, now_ms(), truth)
        program.revive(target)
    else:
        program.wait_recovered()
        window = Window(applied.at, healed, now_ms(), truth)
    return _Done(fault, target, window, answers, blamed)


def _sleep_until(at_ms: float) -> None:
    time.sleep(max(0.0, at_ms - now_ms()) / 1000)


def _to_ask(plan: Plan, program: Program, truth: Truth) -> list[Process]:
    """Some that wait and are on a watched host, and the culprits there."""
    waiting = sorted({wait.who for wait in truth.must})
    some = program.rng.sample(waiting, min(ASKED_MAX, len(waiting)))
    names = {*some, *truth.culprits}
    several = plan.layout == "several"
    return [
        one
        for one in program.room.processes.values()
        if one.name in names and not (several and one.host not in program.watched)
    ]


def _add(
    plan: Plan,
    room: Room,
    sockets: Sockets,
    watchers: list[Watcher],
    done: list[_Done],
    healthy: Healthy,
    results: Results,
) -> None:
    processes = [*room.ended, *room.processes.values()]
    ops: dict[str, list[tuple[int, int]]] = {}
    for process in processes:
        if process.events:  # others, such as nginx, measure nothing
            ops.setdefault(process.name, []).extend(process.ops())
    watched = plan.program.watched if plan.layout == "several" else None
    visible = {one.name for one in processes if watched is None or one.host in watched}
    observed = Observed(
        name=lambda pid: name if (name := sockets.names.get(pid)) in visible else None,
        peer=lambda record: sockets.peer(record["net"]["local"], record["net"]["remote"]),
        ops=ops,
    )
    unverified = [_verify(one, ops, visible) for one in done]
    injections = [
        Injection(
            plan.program.name, plan.layout, one.fault, one.target,
            one.window.at, one.window.healed, one.window.recovered, unverified=names,
        )
        for one, names in zip(done, unverified, strict=True)
    ]  # fmt: skip
    for source in plan.sources:
        records = [r for w in watchers if w.source == source for r in w.drops]
        verdicts, outside = compare(
            stalls(records, int(plan.interval_s * 1000)),
            [one.window for one in done],
            observed,
            int(plan.interval_s * 1000),
        )
        for one, injection, verdict in zip(done, injections, verdicts, strict=True):
            answers = [answer for answer in one.answers if answer.source == source]
            verdict.why = why(answers, one.window.truth, sockets.peer)
            for blamed in (answer for answer in one.blamed if answer.source == source):
                verdict.blame = blame(blamed, one.window.truth, sockets.names.get, sockets.peer)
            injection.sources[source] = verdict
        healthy.false[source] = outside
        if plan.healthy_s:
            healthy.false[source] += [text for verdict in verdicts for text in verdict.false]
    if not plan.healthy_s:
        results.injections += injections
    results.healthy.append(healthy)


def _verify(done: _Done, ops: dict[str, list[tuple[int, int]]], visible: set[str]) -> list[str]:
    """Take the waits out of the truth that are not to be seen, or that did not happen.

    What a process measured decides: a wait that the fault did not cause is no miss.  Returns
    the names of those that did not happen.
    """
    truth = done.window.truth
    seen = [wait for wait in truth.must if wait.who in visible]
    happened = [
        wait for wait in seen if wait.who not in ops or waited(wait, done.window, ops[wait.who])
    ]
    absent = [wait for wait in seen if wait not in happened]
    done.window.truth = Truth(tuple(happened), (*truth.may, *absent), truth.culprits)
    return [wait.who for wait in absent]
