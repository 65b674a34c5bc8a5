"""The profile as text with pictures, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.commands.profile.categories import has_bytes
from xctl_probe.commands.profile.profiled import Latencies, Moved, Profiled
from xctl_probe.ebpf.profile import BUCKETS, FIRST_BUCKET_SHIFT
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable

_BAR = 40  # characters of the longest bar
_MOST_CALLS = 10
_MOST_FAILURES = 10
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns"))
_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))

_NO_CALL = "no system call returned in this time"
_VERDICTS = {
    "idle": "bound by nothing",
    "mixed": "bound by several",
    "stopped": "stopped",
    "unknown": "bound by an unknown wait",
}


def to_text(found: Profiled) -> bytes:
    """Return the text: the verdict, what was used, the calls, and their latencies."""
    lines = [*_head(found), *_used(found)]
    if found.calls is None:
        lines += _sampled(found)
    else:
        lines += [*_categories(found), *_top(found)] if found.calls else ["", f"  {_NO_CALL}"]
        lines += _failures(found)
        for one in found.latencies():
            lines += ["", *picture(one)]
        if found.lost:
            lines += [
                "",
                f"  {found.lost} calls are missing: a map of the kernel programs was full",
            ]
    return "".join(f"{printable(line)}\n" for line in lines).encode("ascii")


def _head(found: Profiled) -> Iterator[str]:
    more = f" and {found.processes - 1} children" if found.processes > 1 else ""
    yield (
        f"{found.comm} (pid {found.pid}){more}, {found.elapsed_ns / 1e9:.1f} s: "
        f"{_verdict(found)}: {found.bound.reason}"
    )


def _verdict(found: Profiled) -> str:
    return _VERDICTS.get(found.bound.by, f"bound by {found.bound.by}")


def _used(found: Profiled) -> Iterator[str]:
    usage, elapsed_ns = found.usage, found.elapsed_ns
    yield ""
    yield (
        f"  CPU      {usage.cpu_ns * 100 / elapsed_ns:.1f} % of a core (user "
        f"{usage.user_ns * 100 / elapsed_ns:.1f}, system {usage.system_ns * 100 / elapsed_ns:.1f})"
    )
    yield f"  memory   {usage.minor_faults:,} page faults, {usage.major_faults:,} of them from disk"
    if usage.read_chars is not None and usage.write_chars is not None:
        yield (
            f"  files    read {_size(usage.read_chars)}, written {_size(usage.write_chars)} by "
            f"reads and writes of any kind; {_size(usage.disk_read_bytes or 0)} from disk, "
            f"{_size(usage.disk_write_bytes or 0)} to disk"
        )
    if found.calls is not None:
        yield f"  network  sent {_moved(found.sent())}, received {_moved(found.received())}"


def _moved(moved: Moved) -> str:
    if not moved.uncounted:
        return _size(moved.counted)
    by = f"not counted in {', '.join(moved.uncounted)}"
    return by if moved.known is None else f"{_size(moved.counted)} (and {by})"


def _categories(found: Profiled) -> Iterator[str]:
    yield ""
    yield f"  {'calls':<20} {'number':>12} {'a second':>12} {'time in them':>14}"
    for category, (times, total_ns) in found.by_category().items():
        rate = times * 1e9 / found.elapsed_ns
        yield f"  {category:<20} {times:>12,} {rate:>12,.1f} {duration(total_ns):>14}"


def _top(found: Profiled) -> Iterator[str]:
    yield ""
    yield f"  {'most calls':<20} {'number':>12} {'failed':>12} {'mean':>14} {'bytes':>12}"
    for one in (found.calls or ())[:_MOST_CALLS]:
        mean = duration(one.total_ns / one.times) if one.times else "-"
        size = _size(one.bytes) if one.bytes else "-"
        size = size if has_bytes(one.name) else "not counted"
        yield f"  {one.label:<20} {one.times:>12,} {one.failures:>12,} {mean:>14} {size:>12}"


def _failures(found: Profiled) -> Iterator[str]:
    if not found.failures:
        return
    yield ""
    yield f"  {'failed calls':<20} {'number':>12}"
    for (name, error), count in list(found.failures.items())[:_MOST_FAILURES]:
        yield f"  {f'{name} {error}':<20} {count:>12,}"


def _sampled(found: Profiled) -> Iterator[str]:
    if not found.samples.waits:
        return
    yield ""
    yield f"  {'threads waited in':<30} {'samples':>8}"
    for (activity, call), count in found.samples.waits.most_common(_MOST_CALLS):
        yield f"  {f'{call} ({activity})':<30} {count:>8,}"


def picture(one: Latencies) -> Iterator[str]:
    """Yield the histogram of one call: a bar for each power of two between first and last."""
    mean = duration(one.total_ns / one.times) if one.times else "-"
    yield f"  {one.name}: {one.times:,} calls, mean {mean}"
    used = [place for place, count in enumerate(one.buckets) if count]
    if not used:
        return
    most = max(one.buckets)
    for place in range(used[0], used[-1] + 1):
        count = one.buckets[place]
        bar = "#" * -(-count * _BAR // most)
        yield f"    {_range(place):>19} |{bar:<{_BAR}}| {count:,}"


def _range(place: int) -> str:
    low = 0 if not place else 1 << (FIRST_BUCKET_SHIFT + place - 1)
    if place == BUCKETS - 1:
        return f"{duration(low)} and more"
    return f"{duration(low)} - {duration(1 << (FIRST_BUCKET_SHIFT + place))}"


def duration(ns: float) -> str:
    """Return a time with the unit in which it has one to three digits before the point."""
    for factor, unit in _UNITS:
        if ns >= factor:
            return (
                f"{ns / factor:.3g} {unit}" if ns < 1000 * factor else f"{ns / factor:,.0f} {unit}"
            )
    return "0"


def _size(count: int) -> str:
    factor, unit = next(((f, u) for f, u in _BYTES if count >= f), _BYTES[-1])
    return f"{count / factor:,.1f} {unit}" if factor > 1 else f"{count} {unit}"


def to_json(found: Profiled) -> bytes:
    """Return one JSON object on one line; times in ns."""
    sent, received = found.sent(), found.received()
    usage = found.usage
    answer: dict[str, object] = {
        "pid": found.pid,
        "comm": found.comm,
        "elapsed_ns": found.elapsed_ns,
        "processes": found.processes,
        "bound_by": found.bound.by,
        "reason": found.bound.reason,
        "moments": {str(name): count for name, count in found.samples.moments.items()},
        "waits": [
            {"activity": str(activity), "call": call, "samples": count}
            for (activity, call), count in found.samples.waits.most_common()
        ],
        "usage": {name: getattr(usage, name) for name in usage.__dataclass_fields__},
        "counted": found.calls is not None,
    }
    if found.calls is not None:
        answer |= {
            "categories": {
                str(category): {"times": times, "total_ns": total_ns}
                for category, (times, total_ns) in found.by_category().items()
            },
            "calls": [
                {
                    "name": one.name,
                    "on": one.kind.name.lower(),
                    "category": str(one.category),
                    "times": one.times,
                    "failures": one.failures,
                    "total_ns": one.total_ns,
                    "sleep_ns": one.sleep_ns,
                    "bytes": one.bytes if has_bytes(one.name) else None,
                }
                for one in found.calls
            ],
            "failures": [
                {"call": call, "errno": error, "times": count}
                for (call, error), count in (found.failures or {}).items()
            ],
            "latencies": {
                one.name: {
                    "times": one.times,
                    "total_ns": one.total_ns,
                    "below_ns": [1 << (FIRST_BUCKET_SHIFT + n) for n in range(BUCKETS)],
                    "buckets": list(one.buckets),
                }
                for one in found.latencies()
            },
            "sent_bytes": sent.known,
            "received_bytes": received.known,
            "uncounted": {"sent": list(sent.uncounted), "received": list(received.uncounted)},
            "lost": found.lost,
        }
    return ascii_json(answer)
