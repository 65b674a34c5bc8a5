"""docs/evaluation.md, from the results of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from evaluation.faults import MEANING
from evaluation.programs import PROGRAMS
from evaluation.results import Injection, Results
from evaluation.score import Score, score

# What is missed, and why: written by hand, below the results.
MISSED = Path(__file__).with_name("missed.md")
# Shares at least.
RECALL = {"kernel": 0.95, "sampler": 0.90}
PRECISION, CAUSE, CULPRIT = 0.99, 0.95, 0.99
# The first record, at most after an interval of a second and the length of a stall: the network's
# own delays, or a late reply.
BY_NETWORK, STALL_MS, REPLY_MS = ("drop", "shape"), 1_100, 2_000
SOURCES = {"kernel": "kernel source (root)", "sampler": "sampler (the job's own user)"}
HEADER = (
    "injections", "waits", "precision", "recall", "right peer", "right cause", "culprit",
    "to report", "error of length", "false", "false per healthy hour", "blame right",
    "blame wrong", "why right", "why denies",
)  # fmt: skip


def summary(results: Results, of: tuple[str, str] | None = None) -> list[str]:
    """The scores of each source, as lines of a table in Markdown; `of` a program and a layout."""

    def keep(one: Injection) -> bool:
        return of is None or of == (one.program, one.layout)

    rows = [(source, score(results, source, keep, healthy=True)) for source in _sources(results)]
    return [*_head("source"), *(_row(source, of_source) for source, of_source in rows)]


def render(results: Results) -> str:
    """The whole page."""
    lines = [
        "# Evaluation",
        "",
        "Real programs run healthy, a fault is injected, and what the probe reports is compared",
        "with what is true. `make eval` repeats it; [testing.md](testing.md#evaluation) describes",
        "how.",
        "",
        f"{results.host}, both sources at the same time, {results.date},",
        f"{_seeds(results)}.",
        "",
        "A *wait* is one process that must be reported during one injection. *To report* is the",
        "median time from the begin of the wait to the first record, *error of length* the median",
        "difference of a stall that is over from what the process itself measured. *Culprit* is",
        "the share of injections in which the processes that are waited for, and are not reported",
        "to wait, are those with the fault. *False* counts stalls that did not exist and those",
        "of the wrong peer. *Blame right* is the share of injections in which `blame --pid` of a",
        "process that waits, asked during the fault, names those with the fault and nothing else;",
        "*blame wrong* those in which it names one that neither has the fault nor waits.",
        "*Why right* is the share of the waits of which `why` names the wait and its peer;",
        "*why denies* those that it takes for no wait.",
        "",
        *summary(results),
        "",
        "## Goals",
        "",
        *_goals(results),
    ]
    if MISSED.exists():
        lines += ["", "## What is missed", "", *MISSED.read_text().splitlines()]
    lines += ["", "## Healthy time", "", *_healthy(results)]
    for source in _sources(results):
        lines += ["", f"## {SOURCES[source]}", "", "By program:", "", *_by_program(results, source)]
        lines += ["", "By fault:", "", *_by_fault(results, source)]
    lines += ["", "## Programs", "", "| program | | needs |", "| --- | --- | --- |"]
    for program in PROGRAMS.values():
        what = (program.__doc__ or "").splitlines()[0].rstrip(".")
        lines.append(f"| {program.name} | {what} | {program.needs} |")
    lines += ["", "## Faults", "", "| fault | |", "| --- | --- |"]
    lines += [f"| {fault} | {meaning} |" for fault, meaning in MEANING.items()]
    if results.errors:
        lines += ["", "## Stopped early", ""]
        lines += ["These did not survive a fault; what was injected before counts above.", ""]
        lines += [f"- {error.splitlines()[0].partition(', last ')[0]}" for error in results.errors]
    return "\n".join(lines) + "\n"


def _goals(results: Results) -> list[str]:
    lines = _table("source", "goal", "found", "reached")
    for source in _sources(results):
        one = score(results, source, lambda _: True, healthy=True)
        goals = (
            ("precision", one.precision, PRECISION),
            ("recall", one.recall, RECALL[source]),
            ("right cause", one.right_cause, CAUSE),
            ("culprit", one.right_culprit, CULPRIT),
            ("culprit of `blame`", one.blame_right, CULPRIT),
        )
        for name, value, least in goals:
            reached = value is not None and value >= least
            found = "" if value is None else f"{value:.3f}"
            lines.append(_goal(source, f"{name} at least {least}", found, reached))
        lines.append(
            _goal(source, "no false stall in a healthy hour", _rate(one), one.false_per_hour == 0)
        )
        for what, by_network, most_ms in (
            ("a delay of the network", True, STALL_MS),
            ("a late reply", False, REPLY_MS),
        ):
            part = score(results, source, _by_network(by_network))
            in_time = part.to_report_ms is not None and part.to_report_ms <= most_ms
            goal = f"first record of {what} within {most_ms} ms (median)"
            lines.append(_goal(source, goal, _ms(part.to_report_ms), in_time))
    return lines


def _healthy(results: Results) -> list[str]:
    """Per program and layout: the healthy minutes, and how many stalls were reported in them."""
    sources = [one for one in SOURCES if any(one in phase.false for phase in results.healthy)]
    lines = _table("program", "hosts", "minutes", *(f"false, {one}" for one in sources))
    for program, layout in sorted({(one.program, one.layout) for one in results.healthy}):
        phases = [one for one in results.healthy if (one.program, one.layout) == (program, layout)]
        minutes = sum(one.seconds for one in phases) / 60
        false = (sum(len(one.false.get(source, ())) for one in phases) for source in sources)
        lines.append(f"| {program} | {layout} | {minutes:.0f} | {' | '.join(map(str, false))} |")
    return lines


def _by_network(wanted: bool) -> Callable[[Injection], bool]:
    return lambda one: (one.fault in BY_NETWORK) is wanted


def _goal(source: str, goal: str, found: str, reached: bool) -> str:
    return f"| {source} | {goal} | {found} | {'yes' if reached else 'no'} |"


def _rate(one: Score) -> str:
    return "" if one.false_per_hour is None else f"{one.false_per_hour:.1f}"


def _seeds(results: Results) -> str:
    numbers = ", ".join(map(str, sorted(set(results.seeds))))
    return f"seeds {numbers}" if ", " in numbers else f"seed {numbers}"


def _by_program(results: Results, source: str) -> list[str]:
    lines = _head("program", "hosts")
    for program, layout in sorted({(one.program, one.layout) for one in results.injections}):

        def keep(one: Injection, program: str = program, layout: str = layout) -> bool:
            return (one.program, one.layout) == (program, layout)

        lines.append(_row(f"{program} | {layout}", score(results, source, keep, healthy=True)))
    return lines


def _by_fault(results: Results, source: str) -> list[str]:
    lines = _head("fault")
    for fault in (one for one in MEANING if any(i.fault == one for i in results.injections)):
        keep: Callable[[Injection], bool] = lambda one, fault=fault: one.fault == fault  # noqa: E731
        lines.append(_row(fault, score(results, source, keep)))
    return lines


def _sources(results: Results) -> Iterator[str]:
    return (name for name in SOURCES if any(name in one.sources for one in results.injections))


def _head(*first: str) -> list[str]:
    return _table(*first, *HEADER)


def _table(*words: str) -> list[str]:
    return [f"| {' | '.join(words)} |", f"|{' --- |' * len(words)}"]


def _row(name: str, one: Score) -> str:
    values = (
        one.injections, one.waits, _share(one.precision), _share(one.recall),
        _share(one.right_peer), _share(one.right_cause), _share(one.right_culprit),
        _ms(one.to_report_ms), _ms(one.length_error_ms), one.false,
        _rate(one), _share(one.blame_right), _share(one.blame_wrong),
        _share(one.why_right), _share(one.why_denies),
    )  # fmt: skip
    return f"| {name} | {' | '.join(str(value) for value in values)} |"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"
