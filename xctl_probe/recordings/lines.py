"""Which lines matter, without parsing the others: of ten million, most are bandwidth."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from xctl_probe.exporters.ndjson import BANDWIDTH, DROP, ERROR, MEM, STATE, UTIL, ascii_json

# How a line of the probe goes on after its time, which has 13 digits until the year 2286.
_AFTER_TS, _LEAST_TS = 19, 10**12
_AFTER_HEAD = _AFTER_TS + len(b',"event_type":"transport.bw"')
_HEADS = {
    f',"event_type":"{kind}","entity_id"'.encode()[: _AFTER_HEAD - _AFTER_TS]: kind in (DROP, STATE)
    for kind in (BANDWIDTH, DROP, ERROR, STATE, UTIL, MEM)
}
_WANTED = (DROP, STATE)
_STALL = b',"event_type":"transport.drop",'
_ONGOING, _UNATTRIBUTED = b'"ongoing":true', b'"pid":null'
_PROBABLE = b'"probable":true'
CONNECTED = b'"value":"connected"'  # of a line of a process that neither began nor exited
LATEST_MS = 10 * 10**12 - 1  # with 13 digits
_TS = b'{"ts":'
_TIMES = re.compile(rb'\n\{"ts":([0-9]{13}),')  # five times as fast as with ^ and re.MULTILINE
_INTERVAL = re.compile(rb'"interval_ms": ?([0-9]{1,7})[,}]')
_SIX = ("ts", "event_type", "entity_id", "job_id", "pid", "value", "net")

BROKEN = "lines that are no record"


def wanted(lines: Iterable[bytes], problems: Counter[str] | None = None) -> Iterator[bytes]:
    """Yield the stalls and the states of processes among these lines, in the probe's own form.

    A line has no newline.  Lines that another program has written anew are brought into that form.
    `problems` counts those that are no record.
    """
    problems = Counter() if problems is None else problems
    for line in lines:
        is_wanted = _HEADS.get(line[_AFTER_TS:_AFTER_HEAD])
        if is_wanted is not None and line[-2:] == b"}}":
            if is_wanted:
                yield line
        elif line.strip():
            yield from _rewritten(line, problems)


def _rewritten(line: bytes, problems: Counter[str]) -> Iterator[bytes]:
    try:
        found = orjson.loads(line)
        kind, ts = found["event_type"], found["ts"]
        if type(ts) is not int or not _LEAST_TS <= ts < 10 * _LEAST_TS or not isinstance(kind, str):
            raise TypeError(ts)
        if kind in _WANTED:
            yield ascii_json({name: found.get(name) for name in _SIX})[:-1]
    except (ValueError, TypeError, KeyError, AttributeError, orjson.JSONEncodeError):
        problems[BROKEN] += 1


def is_stall(line: bytes) -> bool:
    """Return True for a stall, of the lines of `wanted`; the others are states of processes."""
    return line.startswith(_STALL, _AFTER_TS)


def wait_of(line: bytes) -> bytes | None:
    """Return what identifies the connection of a stall in its interval.

    None where the stall is over, only probable, or of no process.
    """
    if _ONGOING not in line or _UNATTRIBUTED in line or _PROBABLE in line:
        return None
    return line[_AFTER_TS : line.find(b',"value"')]


def ts_of(line: bytes) -> int | None:
    """Return the time of a line (ms since the Unix epoch), None where the form is another."""
    text = line[len(_TS) : _AFTER_TS]
    return int(text) if text.isdigit() else None


class Times(NamedTuple):
    """The earliest and the latest time of lines (ms); `all_known`: no line has another form."""

    first_ms: int
    last_ms: int
    all_known: bool


def times_of(lines: bytes) -> Times | None:
    """Return the times of lines, which need no order; None where all have another form."""
    found = _TIMES.findall(b"\n" + lines)
    if not found:
        return None
    return Times(int(min(found)), int(max(found)), len(found) == lines.count(b"\n"))


def interval_of(lines: bytes) -> int | None:
    """Return the length of an interval among these lines in ms, None where none is stated."""
    found = _INTERVAL.search(lines)
    return int(found[1]) if found else None
