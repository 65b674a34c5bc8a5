"""What a run found, as JSON that is committed: one entry for each kernel, by series."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .expect import ALL_VARIANTS, expected
from .fetch import REPOSITORY, Kernel
from .guest.features import NO, UNKNOWN, YES, supports

PATH = REPOSITORY / "docs" / "kernels.json"
# A service that runs the tests may keep only the last lines.
_WHY_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class AttachVariant:
    """How one variant did on one kernel.

    `outcome`: "yes", every test passed; "no", the kernel lacks what it needs, or a test
    failed; "unknown", no test gave an answer.  `right` shows whether that is as expected.
    """

    outcome: str
    right: bool
    passed: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # the test, and why in one line
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One kernel's answers.  `seconds` is boot and tests together; `date` is ISO."""

    release: str
    series: str
    suite: str
    version: str  # of Debian's package
    date: str
    seconds: int
    features: dict[str, str] = field(default_factory=dict)
    variants: dict[str, AttachVariant] = field(default_factory=dict)
    kernel: AttachVariant | None = None  # the tests of the kernel itself, without a variant
    trouble: str = ""

    @property
    def right(self) -> bool:
        """Whether everything came out as it must."""
        own = [self.kernel] if self.kernel else []
        return not self.trouble and all(one.right for one in [*self.variants.values(), *own])


def decide(variants: tuple[str, ...], kernel: Kernel, shared: Path) -> dict[str, AttachVariant]:
    """Each variant's outcome from what the guest left in `shared`; "" is the kernel itself."""
    features = _read_features(shared)
    entries = _read_entries(shared)
    return {name: _decide_one(name, kernel, features, entries) for name in ("", *variants)}


def _decide_one(
    name: str, kernel: Kernel, features: dict[str, str], entries: list[dict[str, str]]
) -> AttachVariant:
    mine = [entry for entry in entries if _variant_of(entry["test"]) == name]
    failed = {entry["test"]: _why(entry) for entry in mine if entry["outcome"] == "failed"}
    passed = sum(entry["outcome"] == "passed" for entry in mine)
    skipped = sum(entry["outcome"] == "skipped" for entry in mine)
    wanted = not name or expected(name, kernel.series, kernel.arch)
    carried = supports(name, features) if name else YES
    if failed:
        outcome, note = NO, f"{len(failed)} of {len(failed) + passed} tests failed"
    elif carried == NO:
        outcome, note = NO, "the kernel does not have it"
    elif passed and carried == YES:
        outcome, note = YES, ""
    else:
        outcome, note = UNKNOWN, "no answer"
    right = not failed and outcome == (YES if wanted else NO)
    return AttachVariant(outcome, right, passed, skipped, failed, note)


def _why(entry: dict[str, str]) -> str:
    return " ".join(entry["why"].split())[:_WHY_CHARACTERS]


def _variant_of(test: str) -> str:
    """`test_x[kprobe-1]` belongs to kprobe; a test without a variant to the kernel, ""."""
    words = re.findall(r"[a-z]+", test.partition("[")[2])
    return next((word for word in words if word in ALL_VARIANTS), "")


def _read_features(shared: Path) -> dict[str, str]:
    path = shared / "features.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _read_entries(shared: Path) -> list[dict[str, str]]:
    path = shared / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def features_of(shared: Path) -> dict[str, str]:
    """The features that the guest wrote down; empty where it did not get so far."""
    return _read_features(shared)


def store(results: list[Result], path: Path = PATH) -> None:
    """Write the results; what this run left out, kernels or variants, keeps its entry."""
    kept = {one["series"]: one for one in load(path)}
    for result in results:
        earlier = kept.get(result.series, {})
        entry = asdict(result)
        if earlier.get("version") == result.version:
            entry["variants"] = earlier["variants"] | entry["variants"]
        kept[result.series] = entry
    ordered = sorted(kept.values(), key=lambda one: [int(n) for n in one["series"].split(".")])
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"kernels": ordered}, indent=1) + "\n")


def load(path: Path = PATH) -> list[dict[str, Any]]:
    """The stored entries, oldest kernel first; empty where there was no run yet."""
    return list(json.loads(path.read_text())["kernels"]) if path.exists() else []
