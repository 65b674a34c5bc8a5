"""Markdown from docs/bench/results.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.goals import goals
from bench.results import GUEST, NATIVE, Results

BEGIN, END = "<!-- bench {}: make bench -->", "<!-- bench {} end -->"


def replaced(document: str, name: str, text: str) -> str:
    """The document with `text` between the marks of this name.  Raises ValueError without them."""
    begin, end = BEGIN.format(name), END.format(name)
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"no {begin} ... {end} in the document")
    return f"{before}{begin}\n{text}{end}{after}"


def goal_table(results: Results) -> str:
    """Each goal, what was measured, and whether it is kept."""
    rows = [[g.what, g.limit, g.measured, "yes" if g.kept else "**no**"] for g in goals(results)]
    return _markdown(["", "goal", "measured", "kept"], rows)


def throughput_table(part: dict[str, Any]) -> str:
    """Throughput with each watcher over throughput without: median, least to most."""
    return _by_workload(part, lambda seen: _ratio(seen["rate_ratio"]))


def per_cpu_table(part: dict[str, Any]) -> str:
    """Work done with a second of CPU, with over without: median, least to most."""
    return _by_workload(part, lambda seen: _ratio(seen.get("per_cpu_ratio")))


def latency_table(part: dict[str, Any]) -> str:
    """Latency with over latency without, medians: p50, p99."""
    return _by_workload(
        part, lambda seen: f"{_median(seen['p50_ratio'])}, {_median(seen['p99_ratio'])}"
    )


def cost_table(part: dict[str, Any]) -> str:
    """What each watcher takes: medians; CPU and memory of the workload where it took most."""
    rows = []
    for name, what in part["watchers"].items():
        seen = {workload: one["with"][name] for workload, one in part["workloads"].items()}
        rows.append(
            [
                f"`{name}`: {what}",
                _most(seen.values(), "cpu_share", 100, 2),
                _most(seen.values(), "resident_mib", 1, 0),
                _most(seen.values(), "peak_mib", 1, 0),
                _most(seen.values(), "maps_kib", 1, 0),
                *(_call(seen.get(workload)) for workload in ("datagrams", "pingpong")),
                _lost(seen.values()),
            ]
        )
    head = [
        "", "CPU, % of a core", "resident MiB", "at most", "maps KiB",
        "ns a call, UDP: added (run)", "ns a call, TCP: added (run)", "lost",
    ]  # fmt: skip
    return _markdown(head, rows)


def alone_table(part: dict[str, Any]) -> str:
    """Return the table of the workloads without a watcher."""
    rows = []
    for name, one in part["workloads"].items():
        alone = one["without"]
        rate = alone["rate"]
        percentiles = [
            f"{alone[key]['median']:g}" if alone[key] else "" for key in ("p50_us", "p99_us")
        ]
        spread = f"{rate['median']:,.0f} ({rate['least']:,.0f} to {rate['most']:,.0f})"
        rows.append([f"`{name}`: {one['what']}", f"{spread} {one['unit']}", *percentiles])
    return _markdown(["", "a second", "p50 µs", "p99 µs"], rows)


def sockets_table(part: dict[str, Any]) -> str:
    """The probe over open sockets."""
    rows = [
        [
            row["watcher"], f"{row['sockets']:,}", f"{row['cpu_share'] * 100:.2f}",
            f"{row['resident_mib']:.0f}", f"{row['peak_mib']:.0f}",
            "" if row["kernel_kib"] is None else f"{row['kernel_kib'] / 1024:.1f}",
            f"{row['tick_idle_ms']:.1f}", f"{row['tick_active_ms']:.1f}",
        ]
        for row in part.get("by_sockets", [])
    ]  # fmt: skip
    head = [
        "source", "open sockets", "CPU, % of a core", "resident MiB", "at most", "kernel MiB",
        "tick ms, all idle", "tick ms, all used",
    ]  # fmt: skip
    return _markdown(head, rows)


def calls_table(part: dict[str, Any]) -> str:
    """The probe over calls."""
    rows = [
        [row["watcher"], f"{row['calls_per_s']:,}", f"{row['cpu_share'] * 100:.2f}"]
        for row in part.get("by_calls", [])
    ]
    return _markdown(["source", "calls a second", "CPU, % of a core"], rows)


def page(results: Results) -> str:
    """docs/bench/README.md: everything."""
    text = "# What was measured\n\nMade by `make bench` from results.json; "
    text += "[performance.md](../performance.md) explains it.\n"
    text += f"\n## Goals\n\n{goal_table(results)}"
    for part, title in ((NATIVE, "On this machine"), (GUEST, "In a virtual machine")):
        if part in results:
            text += _part_page(title, results[part])
    return text


def _part_page(title: str, part: dict[str, Any]) -> str:
    host = part["host"]
    text = f"\n## {title}\n\n{host['kernel']}, {host['cpus']} cores ({host['cpu']}), "
    text += f"{host['date']}; {part['rounds']} rounds of {part['seconds']:g} s, "
    text += "each between two without.\n"
    if "busy_share" in part:
        busy = part["busy_share"]
        text += f"When it began, other things kept {busy:.0%} of the machine busy.\n"
    for heading, table in (
        ("Without", alone_table(part)),
        ("Throughput, with over without: median (least to most)", throughput_table(part)),
        ("Work by second of CPU, with over without: median (least to most)", per_cpu_table(part)),
        ("Latency, with over without: p50, p99", latency_table(part)),
        ("What each takes", cost_table(part)),
    ):
        text += f"\n### {heading}\n\n{table}"
    if part.get("by_sockets"):
        text += f"\n### Over open sockets\n\n{sockets_table(part)}"
        text += f"\n### Over calls\n\n{calls_table(part)}"
    return text


def _by_workload(part: dict[str, Any], cell: Any) -> str:
    names = list(part["watchers"])
    rows = [
        [workload, *(_troubled(one["with"].get(name), cell) for name in names)]
        for workload, one in part["workloads"].items()
    ]
    return _markdown(["", *names], rows)


def _troubled(seen: dict[str, Any] | None, cell: Any) -> str:
    if seen is None or not seen["rate_ratio"]:
        return "not measured"
    return str(cell(seen))


def _ratio(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    return f"{spread['median']:.3f} ({spread['least']:.2f} to {spread['most']:.2f})"


def _median(spread: dict[str, float] | None) -> str:
    return f"{spread['median']:.2f}" if spread else "-"


def _most(seen: Iterable[dict[str, Any]], key: str, factor: float, digits: int) -> str:
    known = [one[key]["median"] * factor for one in seen if one[key]]
    return f"{max(known):.{digits}f}" if known else ""


def _call(seen: dict[str, Any] | None) -> str:
    if seen is None or not seen["added_ns"]:
        return ""
    added, run = seen["added_ns"]["median"], seen["run_ns_per_call"]
    return f"{added:.0f} ({run:.0f})" if run else f"{added:.0f}"


def _lost(seen: Iterable[dict[str, Any]]) -> str:
    known = [one["lost"] for one in seen if one["lost"] is not None]
    return str(max(known)) if known else "unknown"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
