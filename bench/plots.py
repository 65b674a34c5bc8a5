"""Pictures of docs/bench/results.json, as SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.results import GUEST, NATIVE, Results

_COLOURS = {
    "ebpf": "#1b6ca8", "fentry": "#1b6ca8", "kprobe": "#4aa3df", "bcc": "#8fc7ec",
    "proc": "#2e8b57", "empty": "#9a9a9a", "empty-fentry": "#9a9a9a", "empty-kprobe": "#c4c4c4",
    "bpftrace": "#d9822b", "bpftrace-kprobe": "#d9822b", "nethogs": "#b8392e", "tcptop": "#b8392e",
}  # fmt: skip
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "xctl",  # the same picture from the same figures
    "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e4e4e4",
    "figure.facecolor": "white", "legend.frameon": False,
}  # fmt: skip


def all_of(results: Results, folder: Path) -> None:
    """One file for each picture."""
    with mpl.rc_context(_STYLE):
        for part in (NATIVE, GUEST):
            if results.get(part, {}).get("workloads"):
                _save(_throughput(results[part]), folder / f"{part}-throughput.svg")
                _save(_per_call(results[part]), folder / f"{part}-per-call.svg")
        native = results.get(NATIVE, {})
        if native.get("by_calls"):
            share = lambda row: row["cpu_share"] * 100  # noqa: E731
            label = "CPU of the probe, % of a core"
            _save(
                _curves(native["by_calls"], "calls_per_s", "calls a second", [("", share)], label),
                folder / "cpu-over-calls.svg",
            )
            rows = native["by_sockets"]
            _save(
                _curves(rows, "sockets", "open sockets, idle", [("", share)], label),
                folder / "cpu-over-sockets.svg",
            )
            ticks = [
                (", all idle", lambda row: row["tick_idle_ms"]),
                (", all used", lambda row: row["tick_active_ms"]),
            ]
            _save(
                _curves(rows, "sockets", "open sockets", ticks, "one tick, ms of CPU"),
                folder / "tick-over-sockets.svg",
            )


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _throughput(part: dict[str, Any]) -> Any:
    """Bars about 1, with their ranges."""
    names, workloads = list(part["watchers"]), part["workloads"]
    figure, axes = plt.subplots(figsize=(8.5, 3.4))
    width = 0.8 / len(names)
    for n, name in enumerate(names):
        ratios = [one["with"].get(name, {}).get("rate_ratio") for one in workloads.values()]
        places = [at + (n - (len(names) - 1) / 2) * width for at in range(len(workloads))]
        known = [(at, ratio) for at, ratio in zip(places, ratios, strict=True) if ratio]
        medians = [ratio["median"] for _, ratio in known]
        axes.bar(
            [at for at, _ in known], medians, width * 0.9, label=name, color=_COLOURS[name],
            yerr=[
                [ratio["median"] - ratio["least"] for _, ratio in known],
                [ratio["most"] - ratio["median"] for _, ratio in known],
            ],
            error_kw={"elinewidth": 0.7, "ecolor": "#555555"},
        )  # fmt: skip
    axes.axhline(1, color="#333333", linewidth=0.8)
    axes.set_ylim(0, 1.25)
    axes.set_xticks(range(len(workloads)), list(workloads))
    axes.set_ylabel("throughput, with over without")
    axes.legend(ncols=len(names), loc="upper center", bbox_to_anchor=(0.5, 1.14), fontsize=9)
    return figure


def _per_call(part: dict[str, Any]) -> Any:
    """What a call takes longer, from end to end."""
    names = list(part["watchers"])
    figure, axes = plt.subplots(figsize=(8.5, 0.5 + 0.55 * len(names)))
    for n, workload in enumerate(("datagrams", "pingpong")):
        seen = part["workloads"].get(workload, {}).get("with", {})
        found = [
            (at, seen[name]["added_ns"]) for at, name in enumerate(names)
            if seen.get(name, {}).get("added_ns")
        ]  # fmt: skip
        medians = [added["median"] for _, added in found]
        axes.barh(
            [at + (n - 0.5) * 0.38 for at, _ in found], medians, 0.36,
            color=("#1b6ca8", "#8fc7ec")[n], label=("UDP", "TCP")[n],
            xerr=[
                [added["median"] - added["least"] for _, added in found],
                [added["most"] - added["median"] for _, added in found],
            ],
            error_kw={"elinewidth": 0.7, "ecolor": "#555555"},
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("added to a 64-byte call, ns of CPU")
    axes.legend(loc="lower right")
    return figure


def _curves(
    rows: list[dict[str, Any]],
    key: str,
    label: str,
    curves: list[tuple[str, Callable[[dict[str, Any]], float]]],
    unit: str,
) -> Any:
    figure, axes = plt.subplots(figsize=(6, 3.2))
    for name in dict.fromkeys(row["watcher"] for row in rows):
        mine = [row for row in rows if row["watcher"] == name]
        for n, (suffix, value) in enumerate(curves):
            axes.plot(
                [row[key] for row in mine], [value(row) for row in mine], marker="o",
                color=_COLOURS[name], linestyle=("-", "--")[n], label=name + suffix,
            )  # fmt: skip
    axes.set_xscale("log")
    if len(curves) > 1:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    axes.legend()
    return figure
