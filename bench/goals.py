"""What was aimed at, beside what was measured: kept or missed, with the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.results import GUEST, NATIVE, Results

_MANY_CALLS = 100_000
_RESIDENT_MIB = {10_000: 30, 50_000: 60}  # by open sockets
_BUSY_TICK_MS = {
    ("ebpf", 10_000): 4,
    ("ebpf", 50_000): 25,
    ("proc", 10_000): 10,
    ("proc", 50_000): 60,
}
_CONNECTION_NS = 500  # of programs, at both sockets together
_CONNECTION_CALLS = 4
_CALLS = ("datagrams", "pingpong")  # the workloads in which a call's time shows


@dataclass(frozen=True, slots=True)
class Goal:
    """One line: what, the limit and the measurement as text, and whether it is kept."""

    what: str
    limit: str
    measured: str
    kept: bool


def goals(results: Results) -> Iterator[Goal]:
    """Those of which something was measured."""
    native = results.get(NATIVE, {})
    yield from _throughput(native)
    yield from _scaling(native)
    yield from _added(native, ("ebpf",), "bpftrace", {"ebpf": "empty"}, _END_TO_END)
    # Emulated, calls take too differently long from one to the next: there the programs count.
    yield from _added(
        results.get(GUEST, {}), ("fentry", "kprobe", "bcc"), "bpftrace-kprobe",
        {"fentry": "empty-fentry", "kprobe": "empty-kprobe", "bcc": "empty-kprobe"}, _IN_PROGRAMS,
    )  # fmt: skip


def _throughput(native: dict[str, Any]) -> Iterator[Goal]:
    for workload, title, names, least in (
        ("nginx", "nginx under wrk", ("ebpf", "proc"), 0.99),
        ("connects", "connects", ("ebpf",), 0.95),
    ):
        seen = native.get("workloads", {}).get(workload, {}).get("with", {})
        for name in names:
            for key, what in (("rate_ratio", "throughput"), ("per_cpu_ratio", "work by CPU")):
                ratio = seen.get(name, {}).get(key)
                if ratio:
                    yield Goal(
                        f"{title}, {what}, {name}",
                        f"at least {least}",
                        f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})",
                        ratio["median"] >= least,
                    )
    seen = native.get("workloads", {}).get("connects", {}).get("with", {})
    took_ns = seen.get("ebpf", {}).get("run_ns_per_call")
    if took_ns:
        what = "programs of a connection, by the kernel's clock, ebpf"
        yield _most(what, took_ns * _CONNECTION_CALLS, _CONNECTION_NS, " ns")


def _scaling(native: dict[str, Any]) -> Iterator[Goal]:
    for row in native.get("by_calls", []):
        if abs(row["calls_per_s"] / _MANY_CALLS - 1) < 0.05:
            yield _most(
                f"CPU at 100,000 calls a second, {row['watcher']}", row["cpu_share"] * 100, 1, "%"
            )
    for name, took in native.get("start_ms", {}).items():
        yield _most(f"first record, beyond the interval, {name}", took["median"], 250, " ms")
    for row in native.get("by_sockets", []):
        name, count = row["watcher"], row["sockets"]
        if count not in _RESIDENT_MIB:
            continue
        limit = _RESIDENT_MIB[count]
        yield _most(f"resident with {count:,} sockets, {name}", row["resident_mib"], limit, " MiB")
        if count == min(_RESIDENT_MIB):
            yield from _with_few(row, name, count)
        limit = _BUSY_TICK_MS[name, count]
        yield _most(
            f"one tick, {count:,} busy sockets, {name}", row["tick_active_ms"], limit, " ms"
        )


def _with_few(row: dict[str, Any], name: str, count: int) -> Iterator[Goal]:
    yield _most(f"at most resident, start included, {name}", row["peak_mib"], 30, " MiB")
    if row["kernel_kib"] is not None:
        held = row["kernel_kib"] / 1024
        yield _most(f"kernel memory with {count:,} sockets, {name}", held, 16, " MiB")
    yield _most(f"one tick, {count:,} idle sockets, {name}", row["tick_idle_ms"], 20, " ms")


def _most(what: str, value: float, limit: float, unit: str) -> Goal:
    return Goal(what, f"at most {limit}{unit}", f"{value:.1f}{unit}", value <= limit)


@dataclass(frozen=True, slots=True)
class _Way:
    """A measure of the cost of a call, and its place in the results of a watcher."""

    text: str
    ns: Callable[[dict[str, Any]], float | None]


_END_TO_END = _Way(
    "added to a call", lambda seen: seen["added_ns"]["median"] if seen.get("added_ns") else None
)
_IN_PROGRAMS = _Way(
    "programs of a call, by the guest's clock", lambda seen: seen["run_ns_per_call"]
)


def _added(
    part: dict[str, Any],
    ours: tuple[str, ...],
    rival: str,
    empty: dict[str, str],
    way: _Way,
) -> Iterator[Goal]:
    for workload in _CALLS:
        seen = part.get("workloads", {}).get(workload, {}).get("with", {})
        ns_by_name = {name: way.ns(one) for name, one in seen.items()}
        added = {name: ns for name, ns in ns_by_name.items() if ns is not None}
        for name in ours:
            if name not in added:
                continue
            for other, factor, word in (
                (rival, 0.5, "half of"), (empty[name], 2.0, "twice"), ("tcptop", 1.0, "less than"),
            ):  # fmt: skip
                if other not in added or (other == "tcptop" and workload == "datagrams"):
                    continue  # tcptop does not measure UDP
                limit = factor * added[other]
                yield Goal(
                    f"{way.text}, {workload}, {name}",
                    f"{word} {other}: {limit:.0f} ns",
                    f"{added[name]:.0f} ns",
                    added[name] <= limit,
                )
