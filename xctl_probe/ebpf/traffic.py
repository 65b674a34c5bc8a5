"""Fast path for the events of an iteration: traffic is added up without decoding each event.

Ten thousand busy sockets belong to a few processes.  An event for each socket would cost more than
everything else of an interval.  Of ten thousand waits, only those to decide about are decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from xctl_probe.ebpf.abi import MOST_BYTES, RECORD, Kind, RawEvent, process
from xctl_probe.ebpf.ifindex_names import IfindexNames
from xctl_probe.events import TrafficDelta

# Of struct event: sent_bytes, received_bytes, start_ticks, kind, occurrences, pid, uid, netns,
# ifindex, comm
_HOT_FIELDS = struct.Struct("=16x3Q24x3I4x3I56x16s4x")
assert _HOT_FIELDS.size == RECORD.size

_TRAFFIC, _ONGOING = Kind.TRAFFIC.value, Kind.ONGOING.value
_Who = tuple[int, int, bytes, int, int]


class Sorted(NamedTuple):
    """Events of an iteration; those to decode are given by their number in the chunk.

    `waits` has the numbers of waits, by user and pid; `received` those of data that came to the
    processes that were asked for.
    """

    traffic: list[TrafficDelta]
    waits: dict[int, dict[int, list[int]]]
    others: list[int]
    received: list[int]


def split(chunk: bytes, interfaces: IfindexNames, pids: Container[int] = ()) -> Sorted:
    """Return the traffic by process and interface, and the numbers of all other events.

    Of `pids`, also the numbers of the events of data that came.  An incomplete event at the end is
    left out.
    """
    waits: dict[int, dict[int, list[int]]] = {}
    others: list[int] = []
    heard: list[int] = []
    sums: dict[_Who, list[int]] = {}
    size = RECORD.size
    whole = len(chunk) // size * size
    at = -1
    for sent, received, start_ticks, kind, occurrences, pid, uid, netns, ifindex, comm in (
        _HOT_FIELDS.iter_unpack(memoryview(chunk)[:whole])
    ):  # fmt: skip
        at += 1
        if kind == _ONGOING:
            waits.setdefault(uid, {}).setdefault(pid, []).append(at)
            continue
        if kind != _TRAFFIC or occurrences or sent >= MOST_BYTES or received >= MOST_BYTES:
            others.append(at)
            continue
        if received and pid in pids:
            heard.append(at)
        who = (pid, start_ticks, comm, ifindex, netns)
        total = sums.get(who)
        if total is None:
            sums[who] = [sent, received]
        else:
            total[0] += sent
            total[1] += received
    traffic = [
        TrafficDelta(process(*who[:3]), interfaces.name(*who[3:]), sent, received)
        for who, (sent, received) in sums.items()
    ]
    return Sorted(traffic, waits, others, heard)


def records_at(chunk: bytes, numbers: Iterable[int]) -> Iterator[RawEvent]:
    """Yield the events with these numbers."""
    for number in numbers:
        yield RawEvent._make(RECORD.unpack_from(chunk, number * RECORD.size))
