"""The figures of probes: as text, as one JSON object, and as one line for a health check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from xctl_probe.commands.status.health import places, reasons
from xctl_probe.commands.why.humanize import format_bytes, format_duration, pluralize
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.figures import MapFigures, ProgramFigures
from xctl_probe.status.client import Reply
from xctl_probe.status.document import Status, parse, to_object

_NAME_WIDTH = 11
_TABLE_WIDTH = 20
_LINE_WIDTH = 100
_MOST_ROWS = 64  # of a table: a probe of another user may name any number
_MOST_TEXT = 500
_MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """One probe: its status, or why there is none."""

    pid: int
    uid: int
    status: Status | None
    problems: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """True where nothing is wrong with it."""
        return not self.problems


def shown(reply: Reply) -> Shown:
    """Return what a reply amounts to."""
    uid = reply.found.uid
    if reply.failure:
        return Shown(reply.pid, uid, None, (reply.failure,))
    try:
        status = parse(reply.document)
    except ValueError as error:
        return Shown(reply.pid, uid, None, (f"answers with something else than a status: {error}",))
    return Shown(reply.pid, uid, status, tuple(reasons(status)))


def to_text(probes: Iterable[Shown]) -> bytes:
    """Return a paragraph for each probe."""
    lines = [line for one in probes for line in (*_paragraph(one), "")]
    return "".join(f"{printable(line).rstrip()}\n" for line in lines[:-1]).encode("ascii")


def to_json(probes: Sequence[Shown]) -> bytes:
    """Return one JSON object on one line, with the documents as far as they are known here."""
    return ascii_json(
        {
            "healthy": bool(probes) and all(one.healthy for one in probes),
            "probes": [
                {
                    "pid": one.pid,
                    "uid": one.uid,
                    "healthy": one.healthy,
                    "reasons": list(one.problems),
                    "status": to_object(one.status) if one.status else None,
                }
                for one in probes
            ],
        }
    )


def verdict(probes: Sequence[Shown]) -> bytes:
    """Return one line: healthy, or which probe is not, and why."""
    problems = [f"pid {one.pid}: {text}" for one in probes for text in one.problems]
    if not problems:
        return f"healthy: {pluralize(len(probes), 'probe')}\n".encode("ascii")
    more = len(problems) - _MOST_REASONS
    listed = "; ".join(problems[:_MOST_REASONS])[:_MOST_TEXT]
    rest = f"; and {more} more" if more > 0 else ""
    return f"unhealthy: {printable(listed)}{rest}\n".encode("ascii")


def _paragraph(one: Shown) -> Iterator[str]:
    status = one.status
    health = "; ".join(one.problems)[:_MOST_TEXT] or "healthy"
    if status is None:
        yield f"pid {one.pid} (uid {one.uid}): {health}"
        return
    yield from wrap(f"pid {one.pid} (uid {one.uid}): {health}", _LINE_WIDTH, subsequent_indent="  ")
    for name, text in _rows(status):
        indent = " " * (_NAME_WIDTH + 2)
        yield from wrap(
            f"  {name:<{_NAME_WIDTH}}{text[:_MOST_TEXT]}", _LINE_WIDTH, subsequent_indent=indent
        )
    yield from _maps(status.figures.maps[:_MOST_ROWS])
    yield from _programs(status.figures.programs[:_MOST_ROWS])


def _rows(status: Status) -> Iterator[tuple[str, str]]:
    figures, intervals, records = status.figures, status.intervals, status.records
    yield "start", status.choice
    yield "uptime", f"{format_duration(status.uptime_ms)}, kernel {status.kernel}"
    last = ""
    if intervals.last_ago_ms is not None:
        last = (
            f"; the last {format_duration(intervals.last_ago_ms)} ago took "
            f"{intervals.last_took_ms} ms, the longest {intervals.longest_ms} ms"
        )
    yield (
        "intervals",
        f"{intervals.count:,} of {format_duration(intervals.interval_ms)}; {intervals.late:,} late "
        f"(by at most {format_duration(intervals.latest_ms)}), {intervals.missed:,} missed{last}",
    )
    yield (
        "records",
        f"{records.written:,} written, {records.merged:,} merged, {records.dropped:,} dropped; "
        f"{records.queued:,} queued ({format_bytes(records.queued_bytes)} of "
        f"{format_bytes(records.queue_bytes)})",
    )
    yield "stalls", f"{status.stalls:,} reported now"
    yield "dropped", places(status) or "nothing"
    if (ring := figures.ring) is not None:
        yield (
            "ring",
            f"{format_bytes(ring.used_bytes)} of {format_bytes(ring.size_bytes)} used, "
            f"{format_bytes(ring.most_used_bytes)} at most",
        )
    if figures.counts:
        yield "counts", ", ".join(f"{name} {count:,}" for name, count in figures.counts.items())
    process = status.process
    yield (
        "process",
        f"{process.cpu_percent:.2f} % of a core, {format_bytes(process.resident_bytes)}, "
        f"{pluralize(process.threads, 'thread')}, {pluralize(process.descriptors, 'descriptor')}",
    )
    yield from _kernel(status)


def _kernel(status: Status) -> Iterator[tuple[str, str]]:
    """Yield what was detected on this kernel."""
    figures = status.figures
    lists: tuple[tuple[str, Sequence[str]], ...] = (
        ("features", [name for name, present in figures.features.items() if present]),
        ("lacks", [name for name, present in figures.features.items() if not present]),
        ("hooks", figures.attached),
        ("no hooks", figures.missing),
        ("refused", figures.refused),
        ("not used", ["; ".join(figures.rejected)] if figures.rejected else []),
    )
    for name, found in lists:
        if found:
            yield name, ", ".join(found)


def _maps(maps: Sequence[MapFigures]) -> Iterator[str]:
    if not maps:
        return
    yield f"  {'map':<{_TABLE_WIDTH}}{'entries':>12}{'at most':>12}{'memory':>14}"
    for one in maps:
        entries, most = _number(one.entries), _number(one.max_entries)
        memory = "-" if one.memory_bytes is None else format_bytes(one.memory_bytes)
        yield f"  {one.name[:_TABLE_WIDTH]:<{_TABLE_WIDTH}}{entries:>12}{most:>12}{memory:>14}"


def _programs(programs: Sequence[ProgramFigures]) -> Iterator[str]:
    if not programs:
        return
    yield f"  {'program':<{_TABLE_WIDTH}}{'runs':>12}{'ns a run':>12}{'misses':>14}"
    for one in programs:
        each = None if one.run_ns is None or not one.runs else one.run_ns // one.runs
        yield (
            f"  {one.name[:_TABLE_WIDTH]:<{_TABLE_WIDTH}}{_number(one.runs):>12}"
            f"{_number(each):>12}{one.misses:>14,}"
        )
    if all(one.runs is None for one in programs):
        yield "  the kernel counts runs while sysctl kernel.bpf_stats_enabled is 1"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
