"""What a recording has of one process: as text, and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xctl_probe.commands.recorded import ACTIVITIES, Window
from xctl_probe.commands.why.humanize import format_duration, pluralize, wrap
from xctl_probe.events import Process, Stall
from xctl_probe.exporters.labels import local, remote
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.exporters.text import WAITS
from xctl_probe.recordings.history import RecordedStall

_NS_PER_MS = 1_000_000
_MOST_STALLS = 20
_MOST_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """Errors of one kind on one connection, or of one entity; times are ms (Unix epoch)."""

    what: str
    local: str | None
    remote: str | None
    entity: str
    count: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Former:
    """What a recording has of former processes with the same pid."""

    stalls: tuple[RecordedStall, ...] = ()
    failures: tuple[Failure, ...] = ()
    exited_ms: int | None = None

    def __bool__(self) -> bool:
        return bool(self.stalls or self.failures or self.exited_ms is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What a recording has of one pid in a window.

    `comm` is None where no record is of the process.  `last_ms` is the time of the last interval.
    `exited_ms` is the time of the record of its exit.
    """

    pid: int
    comm: str | None
    window: Window
    last_ms: int | None
    stalls: tuple[RecordedStall, ...]
    failures: tuple[Failure, ...]
    exited_ms: int | None
    former: Former
    notes: tuple[str, ...]

    @property
    def ongoing(self) -> list[RecordedStall]:
        """The stalls that the last interval has, the longest first."""
        found = [one for one in self.stalls if one.stall.ongoing and one.seen_ms == self.last_ms]
        return sorted(found, key=lambda one: -one.stall.duration_ns)

    @property
    def waited_ms(self) -> int:
        """Time of the window in which at least one stall lasted."""
        total, until_ms = 0, self.window.since_ms
        for one in self.stalls:  # by their begin
            total += max(one.until_ms - max(one.begun_ms, until_ms), 0)
            until_ms = max(until_ms, one.until_ms)
        return total


def headline(recalled: Recalled) -> str:
    """Return the answer in one sentence."""
    clock = recalled.window.clock
    since = f"since {clock(recalled.window.since_ms)}"
    if recalled.ongoing:
        longest = recalled.ongoing[0]
        more = len(recalled.stalls) - 1
        others = f", and {pluralize(more, 'more stall')} {since}" if more else ""
        return f"{_what(longest.stall)} at {clock(longest.seen_ms)}{others}"
    if recalled.stalls:
        longest = max(recalled.stalls, key=lambda one: one.stall.duration_ns)
        if len(recalled.stalls) == 1:
            return f"{_what(longest.stall)} at {clock(longest.begun_ms)}"
        count = pluralize(len(recalled.stalls), "stall")
        return (
            f"waited on the network for {format_duration(recalled.waited_ms)} {since}, in {count}; "
            f"the longest: {_what(longest.stall)}"
        )
    if recalled.comm is None:
        return f"no record of this {'process' if recalled.former else 'pid'} {since}"
    return f"no stall is recorded of it {since}"


def to_text(recalled: Recalled, width: int | None = None) -> bytes:
    """Return the text for a terminal, folded to its width: the answer, then each stall."""
    name = f"{recalled.pid} {recalled.comm}" if recalled.comm else str(recalled.pid)
    lines = [f"{name}: {headline(recalled)}"]
    lines += _exit_lines(recalled, recalled.exited_ms)
    if recalled.stalls:
        lines += ["", *_stall_lines(recalled, recalled.stalls)]
    if recalled.failures:
        lines += ["", *_failure_lines(recalled, recalled.failures)]
    if former := recalled.former:
        lines += ["", _FORMER, *_exit_lines(recalled, former.exited_ms)]
        lines += _stall_lines(recalled, former.stalls)
        lines += _failure_lines(recalled, former.failures)
    lines += [line for note in recalled.notes for line in ("", f"  note: {note}")]
    lines = [printable(line).rstrip() for line in lines]
    lines = lines if width is None else wrap(lines, width)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


_FORMER = "  of a former process with this pid:"


def _exit_lines(recalled: Recalled, exited_ms: int | None) -> list[str]:
    return [] if exited_ms is None else [f"  it had exited by {recalled.window.clock(exited_ms)}"]


def _stall_lines(recalled: Recalled, stalls: Iterable[RecordedStall]) -> Iterator[str]:
    """Yield the longest stalls, by their begin."""
    by_length = sorted(stalls, key=lambda one: -one.stall.duration_ns)
    shown = by_length[:_MOST_STALLS]
    for one in sorted(shown, key=lambda one: one.begun_ms):
        begun = recalled.window.clock(one.begun_ms)
        comm = one.stall.owner.comm if one.stall.owner else None
        other = f"{comm} " if comm != recalled.comm else ""
        yield f"  {begun}  {other}{_what(one.stall)}{_for(one.stall)}, {_until(recalled, one)}"
    if len(by_length) > len(shown):
        yield f"  and {len(by_length) - len(shown)} shorter ones; --json has them all"


def _what(stall: Stall) -> str:
    verb = "waits" if stall.ongoing else "waited"
    cause = f" ({stall.cause})" if stall.cause else ""
    length = format_duration(stall.duration_ns / _NS_PER_MS)
    probably = "probably " if stall.probable else ""
    return f"{probably}{verb} {length} {WAITS[stall.direction]} {remote(stall.socket)}{cause}"


def _for(stall: Stall) -> str:
    """Return the process at the other socket, and what it was seen to do."""
    does = ACTIVITIES[stall.peer_activity] if stall.peer_activity else None
    if stall.peer is None:
        return f"; the peer is on this host, {does}" if does else ""
    peer = f"{stall.peer.comm} (pid {stall.peer.pid})"
    return f"; the peer is {peer}, {does}" if does else f"; the peer is {peer}"


def _until(recalled: Recalled, one: RecordedStall) -> str:
    clock = recalled.window.clock
    if not one.stall.ongoing:
        return f"until {clock(one.until_ms)}"
    if one.seen_ms == recalled.last_ms:
        return f"ongoing at {clock(one.seen_ms)}"
    return f"last seen at {clock(one.seen_ms)}"


def _failure_lines(recalled: Recalled, failures: Iterable[Failure]) -> Iterator[str]:
    clock = recalled.window.clock
    latest = sorted(failures, key=lambda one: one.last_ms)
    for one in latest[-_MOST_FAILURES:]:
        where = f"{one.local or '*'} -> {one.remote}" if one.remote else one.entity
        until = f" to {clock(one.last_ms)}" if one.last_ms != one.first_ms else ""
        yield f"  {clock(one.first_ms)}{until}  {one.what} {one.count}  {where}"
    if len(latest) > _MOST_FAILURES:
        yield f"  and {len(latest) - _MOST_FAILURES} more kinds of errors; --json has them all"


def to_json(recalled: Recalled) -> bytes:
    """Return one JSON object on one line."""
    return ascii_json(
        {
            "pid": recalled.pid,
            "comm": recalled.comm,
            "verdict": headline(recalled),
            "since": recalled.window.since_ms,
            "until": recalled.last_ms,
            "exited": recalled.exited_ms,
            "former_exited": recalled.former.exited_ms,
            "waited_ms": recalled.waited_ms,
            "stalls": [
                *(_stall_object(one, former=False) for one in recalled.stalls),
                *(_stall_object(one, former=True) for one in recalled.former.stalls),
            ],
            "errors": [
                *(_failure_object(one, former=False) for one in recalled.failures),
                *(_failure_object(one, former=True) for one in recalled.former.failures),
            ],
            "notes": list(recalled.notes),
        }
    )


def _failure_object(one: Failure, *, former: bool) -> dict[str, object]:
    return {
        "what": one.what,
        "count": one.count,
        "local": one.local,
        "remote": one.remote,
        "entity": one.entity,
        "first": one.first_ms,
        "last": one.last_ms,
        "former_process": former,
    }


def _stall_object(one: RecordedStall, *, former: bool) -> dict[str, object]:
    stall = one.stall
    return {
        "begin": one.begun_ms,
        "end": None if stall.ongoing else one.until_ms,
        "seen": one.seen_ms,
        "duration_ms": stall.duration_ns // _NS_PER_MS,
        "direction": stall.direction.value,
        "cause": stall.cause.value if stall.cause else None,
        "protocol": stall.socket.protocol,
        "local": local(stall.socket),
        "remote": remote(stall.socket),
        "interface": stall.socket.interface,
        "comm": _comm(stall.owner),
        "peer_pid": stall.peer.pid if stall.peer else None,
        "peer_comm": _comm(stall.peer),
        "peer_state": stall.peer_activity.value if stall.peer_activity else None,
        "probable": stall.probable,
        "former_process": former,
    }


def _comm(process: Process | None) -> str | None:
    return process.comm if process else None
