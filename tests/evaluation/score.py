"""Scores of an evaluation: precision, recall, right peer, right cause, times; by row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evaluation.results import Found, Injection, Results

HOUR_S = 3600.0


@dataclass(frozen=True)
class Score:
    """Shares are 0 to 1, times in ms; None where nothing was there to be measured."""

    injections: int
    waits: int
    precision: float | None
    recall: float | None
    right_peer: float | None
    right_cause: float | None
    right_culprit: float | None
    to_report_ms: float | None
    length_error_ms: float | None
    false: int
    false_per_hour: float | None
    blame_right: float | None
    blame_wrong: float | None
    why_right: float | None
    why_denies: float | None


def score(
    results: Results, source: str, keep: Callable[[Injection], bool], healthy: bool = False
) -> Score:
    """The score of one source over the injections that `keep` selects.

    `healthy` adds the healthy time of the programs of these injections; to the precision only
    that around them, or it would depend on how long nothing was injected.
    """
    chosen = [one for one in results.injections if source in one.sources and keep(one)]
    verdicts = [one.sources[source] for one in chosen]
    musts = [must for verdict in verdicts for must in verdict.musts]
    seen = [must for must in musts if must.found]
    asked = [one for verdict in verdicts for one in verdict.why if one.must]
    blamed = [verdict.blame for verdict in verdicts if verdict.blame is not None]
    false = sum(len(verdict.false) for verdict in verdicts)
    wrong = sum(len(verdict.wrong_peer) for verdict in verdicts)
    true = sum(verdict.true_stalls for verdict in verdicts)
    rate, alone = None, 0
    if healthy:
        pairs = {(one.program, one.layout) for one in chosen}
        phases = [one for one in results.healthy if (one.program, one.layout) in pairs]
        quiet = sum(len(one.false.get(source, [])) for one in phases)
        seconds = sum(one.seconds for one in phases)
        false += quiet
        alone = sum(len(one.false.get(source, [])) for one in phases if one.alone)
        rate = quiet * HOUR_S / seconds if seconds else None
    return Score(
        injections=len(chosen),
        waits=len(musts),
        precision=_share(true, true + wrong + false - alone),
        recall=_share(len(seen), len(musts)),
        right_peer=_share(sum(bool(one.right_peer) for one in seen), len(seen)),
        right_cause=_share(sum(bool(one.right_cause) for one in seen), len(seen)),
        right_culprit=_mean(v.right_culprit for v in verdicts if v.right_culprit is not None),
        to_report_ms=_median(seen, "to_report_ms"),
        length_error_ms=_median_size(seen),
        false=false + wrong,
        false_per_hour=rate,
        blame_right=_share(sum(one.right for one in blamed), len(blamed)),
        blame_wrong=_share(sum(one.wrong for one in blamed), len(blamed)),
        why_right=_share(sum(bool(one.waits and one.right_peer) for one in asked), len(asked)),
        why_denies=_share(sum(one.waits is False for one in asked), len(asked)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[bool | None]) -> float | None:
    known = [bool(one) for one in values]
    return sum(known) / len(known) if known else None


def _median(seen: list[Found], name: str) -> float | None:
    known = [getattr(one, name) for one in seen if getattr(one, name) is not None]
    return statistics.median(known) if known else None


def _median_size(seen: list[Found]) -> float | None:
    known = [abs(one.length_error_ms) for one in seen if one.length_error_ms is not None]
    return statistics.median(known) if known else None
