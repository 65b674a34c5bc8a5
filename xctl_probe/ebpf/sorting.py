"""Events of an iteration, sorted without decoding each: of ten thousand waits, few are decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from xctl_probe.ebpf.abi import RECORD, Evidence, Kind, RawEvent, StallDirection

_HOT_FIELDS = struct.Struct("=48xI4xI4xI84x")  # of struct event: kind, pid, uid
assert _HOT_FIELDS.size == RECORD.size

_OF_WAIT = struct.Struct("=8xQ24xQ28xII")  # span_ns, cookie, direction, evidence
_NO_REPLY_DUE = Evidence.FLOW | Evidence.HOLE | Evidence.KEEPALIVE | Evidence.SPINNING

_RECEIVE = StallDirection.RECEIVE.value
_RECEIVED, _ONGOING = Kind.RECEIVED.value, Kind.ONGOING.value


class Sorted(NamedTuple):
    """Events of an iteration by their number in the chunk.

    `waits` has the numbers of waits, by user and pid; `received` those of data that came to the
    processes that were asked for.
    """

    waits: dict[int, dict[int, list[int]]]
    received: list[int]
    others: list[int]


def sort(chunk: bytes) -> Sorted:
    """Return the numbers of all events.  An incomplete event at the end is left out."""
    found = Sorted({}, [], [])
    whole = len(chunk) // RECORD.size * RECORD.size
    for number, (kind, pid, uid) in enumerate(_HOT_FIELDS.iter_unpack(memoryview(chunk)[:whole])):
        if kind == _ONGOING:
            found.waits.setdefault(uid, {}).setdefault(pid, []).append(number)
        else:
            (found.received if kind == _RECEIVED else found.others).append(number)
    return found


def records_at(chunk: bytes, numbers: Iterable[int]) -> Iterator[RawEvent]:
    """Yield the events with these numbers."""
    for number in numbers:
        yield RawEvent._make(RECORD.unpack_from(chunk, number * RECORD.size))


def late_cookies(chunk: bytes, found: Sorted, reply_ns: int) -> set[int]:
    """Return the cookies of the waits for a reply that last so long, also of those not decoded."""
    cookies = set()
    for by_pid in found.waits.values():
        for numbers in by_pid.values():
            for number in numbers:
                at = number * RECORD.size
                span_ns, cookie, direction, evidence = _OF_WAIT.unpack_from(chunk, at)
                is_reply = direction == _RECEIVE and not evidence & _NO_REPLY_DUE
                if is_reply and span_ns >= reply_ns:
                    cookies.add(cookie)
    return cookies
