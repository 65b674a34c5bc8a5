"""What one evaluation found, as it is kept in a JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Found:
    """One wait that had to be reported.  Times in ms; None: not reported, or not measured."""

    who: str
    found: bool
    right_peer: bool | None = None
    right_cause: bool | None = None
    cause: str | None = None
    to_report_ms: int | None = None
    length_error_ms: int | None = None


@dataclass
class Why:
    """What `why` answered of a process that waits (`must`), or of a culprit, which does not.

    `waits` is its answer, None where it could not be seen.
    """

    who: str
    must: bool
    waits: bool | None
    right_peer: bool | None
    text: str


@dataclass
class Blame:
    """Whom `blame` named of a process that waits, by name.

    `right`: the culprits and none else; `wrong`: also one that has no fault, and does not wait.
    """

    who: str
    named: list[str]
    right: bool
    wrong: bool
    text: str


@dataclass
class Verdict:
    """What one source reported of one injection.  `false` has one text a stall that is not true.

    `blame` is None where it was not asked.
    """

    musts: list[Found] = field(default_factory=list)
    true_stalls: int = 0
    wrong_peer: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    right_culprit: bool | None = None
    why: list[Why] = field(default_factory=list)
    blame: Blame | None = None


@dataclass
class Injection:
    """One injection: ms since the epoch of its begin, its heal and the program's recovery."""

    program: str
    layout: str
    fault: str
    target: str
    at: int
    healed: int
    recovered: int
    sources: dict[str, Verdict] = field(default_factory=dict)
    unverified: list[str] = field(default_factory=list)


@dataclass
class Healthy:
    """The healthy time of one program, and the stalls reported in it.

    `alone`: of a run without injections, and not around them.
    """

    program: str
    layout: str
    seconds: float
    false: dict[str, list[str]] = field(default_factory=dict)
    alone: bool = False


@dataclass
class Results:
    """One evaluation, of one run or several.  `host` describes the machine.

    `errors` are the programs that could not be run.
    """

    seeds: list[int]
    date: str
    host: str
    injections: list[Injection] = field(default_factory=list)
    healthy: list[Healthy] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def add(self, other: Results) -> None:
        """What another run found, of programs that were not run here, too."""
        self.seeds += other.seeds
        self.injections += other.injections
        self.healthy += other.healthy
        self.errors += other.errors


def read(path: Path) -> Results:
    """Results as `Results.write` wrote them."""
    raw = json.loads(path.read_text())
    injections = [
        Injection(**one | {"sources": {s: _verdict(v) for s, v in one["sources"].items()}})
        for one in raw.pop("injections")
    ]
    healthy = [Healthy(**one) for one in raw.pop("healthy")]
    return Results(**raw, injections=injections, healthy=healthy)


def _verdict(raw: dict) -> Verdict:
    musts = [Found(**one) for one in raw["musts"]]
    asked = {"why": [Why(**one) for one in raw.get("why", [])]}
    if raw.get("blame"):
        asked["blame"] = Blame(**raw["blame"])
    return Verdict(**raw | {"musts": musts} | asked)
