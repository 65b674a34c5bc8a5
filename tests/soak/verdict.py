"""What the crowd did, what the probe wrote, what it took: one verdict for each promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from support.consumer_model import MISSED_RUNS

from soak.crowd import Crowd
from soak.tally import ReportedStall
from soak.watched import Watched

GROWTH_MIB = 1.0
ANSWER_BYTES = 1009  # of tests/workloads/crowd.py
STALL_NS = 100_000_000
# A wait is measured around the call, a stall inside of it, by a clock that ticks.
TICK_NS = 15_000_000
# A netlink socket for each namespace where somebody has waited, kept for a minute after: the
# crowd's own, and the host's.
NAMESPACES = 2
# A pair of sockets to each child that reads /proc: of activity, of jobs, and of connections.
HELPERS = 3
# Of /proc: one starts with the first search for a peer, one with that for the owner of a reset.
READERS = 2
LATE_NS = 1_000_000_000  # besides the interval at whose end it is reported


@dataclass(frozen=True)
class Verdict:
    """One promise, and whether it was kept."""

    promise: str
    kept: bool
    found: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.kept else 'FAIL'}  {self.promise}: {self.found}"


def truth(crowd: Crowd) -> dict[tuple[int, str], tuple[int, int]]:
    """(sent, received) of each pid and name, over all that had the pid."""
    moved: dict[tuple[int, str], tuple[int, int]] = {}
    for one in crowd.reported():
        who = (one["pid"], one["name"])
        sent, received = moved.get(who, (0, 0))
        moved[who] = (sent + one["sent"], received + one["received"])
    return moved


def reported(crowd: Crowd, probe: Watched) -> dict[tuple[int, str], tuple[int, int]]:
    """The same as the probe has it; of the host, only the crowd's."""
    tally = probe.tally
    whole_host = probe.backend.sees("other_namespaces")
    return {
        who: (tally.sent[who], tally.received[who])
        for who in tally.sent.keys() | tally.received.keys()
        if not whole_host or who[1].startswith(crowd.prefix)
    }


def is_complete(crowd: Crowd, probe: Watched) -> bool:
    """True when the probe's total has reached the truth: it comes an interval late."""
    there = sum(map(sum, truth(crowd).values()))
    here = sum(map(sum, reported(crowd, probe).values()))
    if not probe.backend.sees("brief_owner"):
        here += probe.tally.unattributed
    return here >= there


def decide(crowd: Crowd, probe: Watched, load_from: int, growth_mib: float) -> list[Verdict]:
    """Every promise; `load_from` is where in the gauge the load began."""
    bytes_right = _bytes_exact if probe.backend.sees("brief_owner") else _bytes_sampled
    return [
        *bytes_right(crowd, probe),
        *_health(crowd, probe),
        *_resources(probe, load_from, growth_mib),
        Verdict("the crowd itself did well", not crowd.failures, str(crowd.failures)),
    ]


def _bytes_exact(crowd: Crowd, probe: Watched) -> list[Verdict]:
    there, here = truth(crowd), reported(crowd, probe)
    wrong = [
        f"{who}: {here.get(who)}, not {there.get(who)}"
        for who in sorted(there.keys() | here.keys())
        if there.get(who, (0, 0)) != here.get(who, (0, 0))
    ]
    total = sum(map(sum, there.values()))
    return [
        Verdict(
            f"bytes of {len(there)} processes exact", not wrong,
            f"{len(wrong)} wrong {wrong[:5]}" if wrong else f"{total} bytes",
        ),
        *_resets(crowd, probe),
    ]  # fmt: skip


def _resets(crowd: Crowd, probe: Watched) -> list[Verdict]:
    errors = probe.tally.errors
    (server,) = (one for one in crowd.reported() if one["name"] == f"{crowd.prefix}server")
    sent = sum(one["resets"] for one in crowd.reported() if one is not server)
    # Unattributed: the server had not yet touched the connection that was reset.
    owned, unowned = errors[server["pid"], "RESET"], errors[None, "RESET"]
    found = f"{owned} of the server and {unowned} of nobody, {sent} sent"
    return [Verdict("resets exact", owned + unowned == sent, found)]


def _bytes_sampled(crowd: Crowd, probe: Watched) -> list[Verdict]:
    """The sampler: what has no owner is on the interface; of no process is too much reported."""
    there, here = truth(crowd), reported(crowd, probe)
    total = sum(map(sum, there.values()))
    owned, unowned = sum(map(sum, here.values())), probe.tally.unattributed
    # Who resets a connection wipes its counters (tcp_disconnect).  The peer has counted
    # what was acknowledged, so not always the last answer, and takes the reset for a FIN.
    missing = crowd.total("reset_bytes") + crowd.total("resets", "server") * (ANSWER_BYTES + 1)
    off = owned + unowned - total
    more = [
        f"{who}: {here[who]}, moved {there.get(who)}"
        for who in here
        if any(h > t for h, t in zip(here[who], there.get(who, (0, 0)), strict=True))
    ]
    kept = [who for who in there if who[1].endswith(("-hold", "-talk"))]
    wrong = [
        f"{who}: {here.get(who)}, not {there[who]}" for who in kept if here.get(who) != there[who]
    ]
    return [
        Verdict(
            "bytes of processes and of nobody add up, but for connections that were reset",
            -missing <= off <= 0,
            f"{owned} + {unowned} of {total}, {off:+d} of at most {-missing}",
        ),
        Verdict("nobody is told of more than it moved", not more, f"{len(more)} {more[:5]}"),
        Verdict(
            f"bytes of {len(kept)} processes with lasting connections exact", not wrong,
            f"{len(wrong)} wrong {wrong[:5]}",
        ),
    ]  # fmt: skip


def _health(crowd: Crowd, probe: Watched) -> list[Verdict]:
    tally = probe.tally
    stalls = [s for s in tally.stalls if _is_ours(crowd, probe, s)]
    late_ns = tally.longest_interval_ms * 1_000_000 + LATE_NS
    longer_ns = TICK_NS + int(probe.backend.tolerance_ms(late_ns / 1e9) * 1e6)
    false = [s for s in stalls if not _was_a_wait(crowd, s, late_ns, longer_ns)]
    waits = sum(e - b >= STALL_NS for several in crowd.waits.values() for b, e in several)
    lines = [str(s.record) for s in false[:5]]
    return [
        Verdict(
            "no stall but where the process waited that long", not false,
            f"{len(stalls)} told, {len(false)} false {lines}, {waits} waits of 100 ms or more",
        ),
        # A program that would have interrupted itself did not run: somewhere on this host.
        Verdict("nothing lost", not tally.lost.keys() - {MISSED_RUNS},
        str(dict(tally.lost))),
        Verdict("every line is as the consumer wants it", probe.broken is None, str(probe.broken)),
        Verdict(
            "stderr silent after the first line", probe.stderr.count(b"\n") == 1,
            repr(probe.stderr.decode()),
        ),
    ]  # fmt: skip


def _is_ours(crowd: Crowd, probe: Watched, stall: ReportedStall) -> bool:
    """A pid that one of the crowd has had may be another's now: the name decides."""
    name = stall.record.net["comm"]
    return not probe.backend.sees("other_namespaces") or (name or "").startswith(crowd.prefix)


def _was_a_wait(crowd: Crowd, stall: ReportedStall, late_ns: int, longer_ns: int) -> bool:
    """Did this process (or anybody, where no pid is reported) then wait, and for so long?

    A stall is reported up to an interval after its end, and may be reported so much longer: the
    sampler knows of a connection that is gone only that it was there at the sample before.
    """
    if stall.pid is None:
        waits = [wait for several in crowd.waits.values() for wait in several]
    else:
        waits = crowd.waits.get(stall.pid, [])
    return any(
        end - begin + TICK_NS >= STALL_NS
        and end - begin + longer_ns >= stall.end_ns - stall.begin_ns
        and begin - late_ns <= stall.begin_ns
        and stall.end_ns <= end + late_ns
        for begin, end in waits
    )


def _resources(probe: Watched, load_from: int, growth_mib: float) -> list[Verdict]:
    gauge = probe.gauge
    readings = gauge.readings[load_from:]
    first, *_ = opened = [r.descriptors for r in readings]
    least = min(opened[-5:], key=len)  # one is open to read at times
    # Helpers come and go: a leak is there when the load is over, too.
    counts = [r.threads for r in gauge.readings]
    threads = [min(counts), max(counts), min(counts[-5:])]
    growth = gauge.growth_mib(load_from)
    return [
        Verdict(
            "memory flat", growth <= growth_mib,
            f"{growth:+.2f} MiB, at most {gauge.peak_mib():.1f} MiB",
        ),
        Verdict(
            "no descriptor leaked", len(least) <= len(first) + NAMESPACES + HELPERS,
            f"{len(first)} to {len(least)}, at most {max(map(len, opened))};"
            f" new: {dict(Counter(least) - Counter(first))}",
        ),
        Verdict(
            "no thread leaked", threads[-1] - threads[0] <= READERS, f"{threads}"
        ),
    ]  # fmt: skip
