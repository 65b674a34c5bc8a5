"""Which lines matter, without parsing the others: of ten million, most are bandwidth."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import orjson

from xctl_probe.exporters.ndjson import BANDWIDTH, DROP, ERROR, STATE, ascii_json

# How a line of the probe goes on after its time, which has 13 digits until the year 2286.
_AFTER_TS, _LEAST_TS = 19, 10**12
_AFTER_HEAD = _AFTER_TS + len(b',"event_type":"transport.bw"')
_HEADS = {
    f',"event_type":"{kind}","entity_id"'.encode()[: _AFTER_HEAD - _AFTER_TS]: kind in (DROP, STATE)
    for kind in (BANDWIDTH, DROP, ERROR, STATE)
}
_WANTED = (DROP, STATE)
_TS = re.compile(rb'\{"ts":([0-9]{1,15}),')
_INTERVAL = re.compile(rb'"interval_ms": ?([0-9]{1,7})[,}]')
_SIX = ("ts", "event_type", "entity_id", "job_id", "pid", "value", "net")

BROKEN = "lines that are no record"


def wanted(lines: Iterable[bytes], problems: Counter[str]) -> Iterator[bytes]:
    """Yield the stalls and the states of processes among these lines, in the probe's own form.

    A line has no newline.  Lines that another program has written anew are brought into that form.
    """
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


def times_of(lines: bytes) -> tuple[int, int] | None:
    """Return the first and the last time of these lines (ms), None where the form is another."""
    first, last = _TS.match(lines), lines.rfind(b'\n{"ts":', 0, -1)
    if first is None:
        return None
    ending = _TS.match(lines, last + 1) if last >= 0 else first
    return int(first[1]), int((ending or first)[1])


def interval_of(lines: bytes) -> int | None:
    """Return the length of an interval among these lines in ms, None where none is stated."""
    found = _INTERVAL.search(lines)
    return int(found[1]) if found else None
