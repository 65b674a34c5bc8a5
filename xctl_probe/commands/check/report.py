"""Results of `check` as a table, and as one JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from xctl_probe.commands.check.host import Host
from xctl_probe.commands.check.probe_sources import Answer, ProbeResult, SourceVariant
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.sources.blind_spots import BLIND_SPOTS, BlindSpot
from xctl_probe.sources.privileges import FEATURES

_NAME_WIDTH = 23
_CONDITION_WIDTH = 34
_LINE_WIDTH = 100
_PLACES = {
    "attached": "it is attached to",
    "absent": "not in this kernel, and not needed here",
    "refused": "refused by the kernel, so that something is less exact",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A source variant, the result of its trial, and its remedies."""

    way: SourceVariant
    outcome: ProbeResult
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """Results of all trials; `auto` is the choice of `--backend auto`."""

    rows: tuple[Row, ...]
    auto: ProbeResult
    host: Host
    capabilities: frozenset[str] = frozenset()  # effective ones

    @property
    def works(self) -> bool:
        """True when some source works."""
        return any(row.outcome.answer is Answer.YES for row in self.rows)

    @property
    def blind(self) -> tuple[BlindSpot, ...]:
        """What the source that auto takes cannot see."""
        return (*BLIND_SPOTS.get(self.auto.source or "", ()), *self._roce)

    @property
    def _roce(self) -> Iterator[BlindSpot]:
        """Of this host: interfaces whose own counters leave RDMA out."""
        for interface, where in self.host.roce:
            yield BlindSpot(
                f"roce_{interface}",
                f"RDMA in the bandwidth of {interface}: its counters leave RoCE out; {where}",
            )


def to_text(checked: Checked) -> bytes:
    """Return the table for a terminal."""
    lines = list(_lines(checked))
    return "".join(f"{printable(line).rstrip()}\n" for line in lines).encode("ascii")


def _lines(checked: Checked) -> Iterator[str]:
    shown_remedies: set[tuple[str, ...]] = set()
    width = max(len(row.outcome.answer.value) for row in checked.rows) + 2
    indent = " " * (2 + _NAME_WIDTH + width)
    for row in checked.rows:
        outcome = row.outcome
        start = f"  {row.way.name:<{_NAME_WIDTH}}{outcome.answer.value:<{width}}"
        yield start + outcome.reason + _errno(outcome)
        if outcome.other_blockers:
            yield indent + outcome.other_blockers
        if row.remedies in shown_remedies:
            yield f"{indent}remedy: as above"
        else:
            yield from (f"{indent}remedy: {remedy}" for remedy in row.remedies)
        if row.remedies:
            shown_remedies.add(row.remedies)
    yield ""
    if checked.auto.source is None:
        yield f"auto takes none: {checked.auto.reason}"
    else:
        yield f"auto takes {checked.auto.source}, which cannot see:"
        yield from (f"  - {spot.text}" for spot in checked.blind)
        if checked.auto.hooks:
            yield ""
        for what, places in (checked.auto.hooks or {}).items():
            if places:
                text = f"{_PLACES[what]}: {', '.join(places)}"
                yield from wrap(text, _LINE_WIDTH, subsequent_indent="  ")
    yield ""
    yield from _features(checked.capabilities)
    yield ""
    for condition in checked.host.conditions:
        effect = f": {condition.effect}" if condition.effect else ""
        yield f"  {condition.name:<{_CONDITION_WIDTH}}{condition.value}{effect}"


def _features(held: frozenset[str]) -> Iterator[str]:
    """Yield a row for each feature: what it needs, whether it has it here, and what it costs."""
    width = max(len(feature.text) for feature in FEATURES) + 2
    yield f"  {'feature':<{width}}{'here':<6}needs"
    for feature in FEATURES:
        lacks = feature.lacks(held)
        needs = ", ".join(feature.needs)
        yield f"  {feature.text:<{width}}{'no' if lacks else 'yes':<6}{needs}"
        if lacks:
            yield f"    lacks {', '.join(lacks)}: {feature.without}"


def _errno(outcome: ProbeResult) -> str:
    if outcome.errno is None:
        return ""
    call = f"{outcome.call}: " if outcome.call and outcome.call not in outcome.reason else ""
    return f" ({call}{outcome.errno})"


def to_json(checked: Checked) -> bytes:
    """Return one JSON object on one line."""
    return ascii_json(
        {
            "works": checked.works,
            "auto": checked.auto.source,
            "sources": [_row(row) for row in checked.rows],
            "blind_spots": [dataclasses.asdict(spot) for spot in checked.blind],
            "features": [
                {
                    "key": feature.key,
                    "feature": feature.text,
                    "needs": list(feature.needs),
                    "here": not feature.lacks(checked.capabilities),
                    "lacks": list(feature.lacks(checked.capabilities)),
                    "without": feature.without,
                }
                for feature in FEATURES
            ],
            "host": {c.name: c.value for c in checked.host.conditions},
        }
    )


def _row(row: Row) -> dict[str, object]:
    outcome = row.outcome
    return {
        "name": row.way.name,
        "answer": outcome.answer.value,
        "reason": outcome.reason,
        "errno": outcome.errno,
        "call": outcome.call,
        "besides": outcome.other_blockers,
        "remedies": list(row.remedies),
        "hooks": outcome.hooks,
        "cannot_see": [spot.key for spot in BLIND_SPOTS[row.way.name]],
    }
