"""Compare the stalls of one source with the truth of the injections, without any traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evaluation.asked import Answer, Blamed
from evaluation.results import Blame, Found, Verdict, Why
from evaluation.truth import NOTHING, Truth, Wait

Record = dict[str, Any]
Op = tuple[int, int]
# Two records of one socket belong to one stall when their begins differ by less, besides the
# interval: the time of a record is that of its interval, also where the stall was over earlier.
SAME_STALL_MS = 400
# A wait of the fault may have begun in the step before it.
BEFORE_MS = 1000
# What a healthy process measured itself as a wait this long is no false report.
REAL_WAIT_MS = 900
# A record comes with the end of its interval, which a busy host delays.
REPORTED_WITHIN_MS = 2000
# A shorter wait need not be reported: a reply may take a second, and the record an interval.
MUST_MS = 2500


@dataclass
class Stall:
    """The records of one stall."""

    pid: int
    entity: str
    begin: int
    records: list[Record] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.begin + self.last["net"]["duration_ms"]

    @property
    def last(self) -> Record:
        return self.records[-1]


@dataclass
class Window:
    """One fault, from its begin to the recovery of the program (ms since the epoch)."""

    at: int
    healed: int
    recovered: int
    truth: Truth


@dataclass
class Observed:
    """What the comparison needs to know of the processes.

    `name` gives the name of a pid, None of others; `peer` the name of the process behind the
    remote address of a record; `ops` the operations that each process measured itself, in ms.
    """

    name: Callable[[int], str | None]
    peer: Callable[[Record], str | None]
    ops: dict[str, list[Op]]


def stalls(records: list[Record], interval_ms: int) -> list[Stall]:
    """Group records by socket, process and begin."""
    grouped: list[Stall] = []
    current: dict[tuple[int, str], Stall] = {}
    for record in sorted(records, key=lambda one: one["ts"]):
        key = record["pid"], record["entity_id"]
        begin = record["ts"] - record["net"]["duration_ms"]
        stall = current.get(key)
        if stall is None or abs(begin - stall.begin) > SAME_STALL_MS + interval_ms:
            stall = current[key] = Stall(*key, begin)
            grouped.append(stall)
        stall.records.append(record)
        if not record["net"]["ongoing"]:
            del current[key]
    return grouped


def compare(
    found: list[Stall], windows: list[Window], observed: Observed, interval_ms: int
) -> tuple[list[Verdict], list[str]]:
    """A verdict for each window, and the false stalls outside of all windows."""
    verdicts = [Verdict() for _ in windows]
    outside: list[str] = []
    matched: list[dict[str, list[tuple[Stall, bool]]]] = [{} for _ in windows]
    for stall in found:
        who = observed.name(stall.pid)
        if who is None:
            continue
        number = _window(stall, windows, interval_ms)
        if number is None:
            if not _really_waited(stall, observed.ops.get(who, [])):
                outside.append(describe(stall, observed))
            continue
        verdict, truth = verdicts[number], windows[number].truth
        must = [wait for wait in truth.must if wait.who == who]
        may = [wait for wait in truth.may if wait.who == who]
        peer = observed.peer(stall.last)
        if any(_fits(wait, stall, peer) for wait in must):
            verdict.true_stalls += 1
            matched[number].setdefault(who, []).append((stall, True))
        elif any(_fits(wait, stall, peer) for wait in may):
            continue
        elif must:
            verdict.wrong_peer.append(describe(stall, observed))
            matched[number].setdefault(who, []).append((stall, False))
        elif truth != NOTHING or not _really_waited(stall, observed.ops.get(who, [])):
            # A stopped process measures its stop as a wait, so only healthy ones are believed.
            verdict.false.append(describe(stall, observed))
    for window, verdict, of_window in zip(windows, verdicts, matched, strict=True):
        for wait in window.truth.must:
            ops = observed.ops.get(wait.who, [])
            verdict.musts.append(
                _found(wait, of_window.get(wait.who, []), window, ops, interval_ms)
            )
        verdict.right_culprit = _culprit(window.truth, of_window, observed)
    return verdicts, outside


def waited(wait: Wait, window: Window, ops: list[Op]) -> bool:
    """Whether the process itself measured a wait in the window, where it measures at all."""
    return any(min(end, window.recovered) - max(begin, window.at) >= MUST_MS for begin, end in ops)


def why(answers: list[Answer], truth: Truth, peer: Callable[[str, str], str | None]) -> list[Why]:
    """The answers of `why`; `peer` names the process behind a connection's remote address."""
    found = []
    for answer in answers:
        musts = [wait for wait in truth.must if wait.who == answer.who]
        if not musts and answer.who not in truth.culprits:
            continue
        right = None
        if answer.waits:
            connection = answer.connection
            right = connection is not None and any(
                _right(wait, connection, peer(*connection)) for wait in musts
            )
        text = answer.answer["verdict"] if answer.answer else "an error"
        found.append(Why(answer.who, bool(musts), answer.waits, right, text))
    return found


def blame(
    answer: Blamed,
    truth: Truth,
    name: Callable[[int], str | None],
    peer: Callable[[str, str], str | None],
) -> Blame | None:
    """The answer of `blame`; None where it was asked of a process that need not wait.

    `name` gives the name of a pid, `peer` that of the process behind a remote address.
    """
    if not truth.culprits or all(wait.who != answer.who for wait in truth.must):
        return None
    named = set()
    for pid, connections in answer.named():
        names = {name(pid)} if pid is not None else {peer(*one) for one in connections}
        named |= {one or "?" for one in names or {None}}
    # Who must wait is on the trail, of which the rest is on another host.
    wrong = bool(named - truth.culprits - {wait.who for wait in truth.must})
    text = answer.answer["verdict"] if answer.answer else "an error"
    right = named == truth.culprits
    return Blame(answer.who, sorted(named), right, wrong, text)


def describe(stall: Stall, observed: Observed) -> str:
    net = stall.last["net"]
    who, peer = observed.name(stall.pid), observed.peer(stall.last)
    over = "ongoing" if net["ongoing"] else "over"
    measured = max(
        (min(end, stall.end) - max(begin, stall.begin) for begin, end in observed.ops.get(who, [])),
        default=0,
    )
    own = f", {measured} ms of it measured by the process" if measured > 0 else ""
    return (
        f"{who} {net['direction']} {net['cause']} {net['duration_ms']} ms {over} for "
        f"{peer or '?'} {net['local']}>{net['remote']} ({len(stall.records)} lines{own})"
    )


def _window(stall: Stall, windows: list[Window], interval_ms: int) -> int | None:
    """The window that a stall lies in; one that began long before it does not."""
    for number, window in enumerate(windows):
        early = stall.begin < window.at - BEFORE_MS
        late = stall.begin - interval_ms > window.recovered
        if not early and not late and stall.end >= window.at:
            return number
    return None


def _really_waited(stall: Stall, ops: list[Op]) -> bool:
    return any(
        end - begin >= REAL_WAIT_MS
        and begin - BEFORE_MS <= stall.begin
        and stall.end <= end + REPORTED_WITHIN_MS
        for begin, end in ops
    )


def _fits(wait: Wait, stall: Stall, peer: str | None) -> bool:
    if stall.last["net"]["direction"] not in wait.directions:
        return False
    return _right(wait, (stall.last["net"]["local"], stall.last["net"]["remote"]), peer)


def _right(wait: Wait, connection: tuple[str, str], peer: str | None) -> bool:
    ports = {int(address.rpartition(":")[2]) for address in connection}
    return not ports & wait.not_ports and (not wait.on or peer in wait.on)


def _found(
    wait: Wait, matched: list[tuple[Stall, bool]], window: Window, ops: list[Op], interval_ms: int
) -> Found:
    until = window.healed + interval_ms
    during = [
        (record, right, stall)
        for stall, right in matched
        for record in stall.records
        if record["net"]["ongoing"] and window.at <= record["ts"] <= until
    ]
    if not during:
        return Found(wait.who, found=False)
    during.sort(key=lambda one: (not one[1], one[0]["ts"]))
    first, right, stall = during[0]
    began = max(window.at, _op_begin(stall, ops))
    ended = [one for one, is_right in matched if is_right and not one.last["net"]["ongoing"]]
    cause = max((one for one in during if one[1] == right), key=lambda one: one[0]["ts"])[0]
    cause = cause["net"]["cause"]
    return Found(
        wait.who,
        found=True,
        right_peer=right,
        right_cause=right and cause in wait.causes,
        cause=cause,
        to_report_ms=first["came"] - began,
        length_error_ms=_length_error(ended, ops, window),
    )


def _op_begin(stall: Stall, ops: list[Op]) -> int:
    """When the process itself began the operation that the stall lies in; 0: not measured."""
    return max((begin for begin, end in ops if begin <= stall.begin + 50 and end >= stall.end - 50),
               default=0)  # fmt: skip


def _length_error(ended: list[Stall], ops: list[Op], window: Window) -> int | None:
    """How far the longest ended stall is from the operation that it lies in."""
    if not ended:
        return None
    stall = max(ended, key=lambda one: one.last["net"]["duration_ms"])
    inside = [
        (begin, end)
        for begin, end in ops
        if end >= window.at and begin <= stall.end and end >= stall.begin
    ]
    if not inside:
        return None
    begin, end = max(inside, key=lambda op: min(op[1], stall.end) - max(op[0], stall.begin))
    return stall.last["net"]["duration_ms"] - (end - begin)


def _culprit(
    truth: Truth, matched: dict[str, list[tuple[Stall, bool]]], observed: Observed
) -> bool | None:
    """Whether those that are waited for, and are not reported to wait, are the culprits."""
    if not truth.culprits:
        return None
    awaited = {observed.peer(s.last) for of_one in matched.values() for s, _ in of_one}
    return awaited - matched.keys() == truth.culprits
