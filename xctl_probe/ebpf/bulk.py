"""The records of a drain, most of which only say that a socket moved bytes: those are added up.

Ten thousand busy sockets belong to a few processes.  A fact for each socket would cost more than
everything else of an interval together, and nobody asks for it.
"""

from __future__ import annotations

import struct

from xctl_probe.ebpf.interfaces import Interfaces
from xctl_probe.ebpf.records import MOST_BYTES, RECORD, Kind, process
from xctl_probe.facts import Traffic

# Of struct record: sent_bytes, received_bytes, start_ticks, kind, occurrences, pid, netns,
# ifindex, comm
_BRIEF = struct.Struct("=16x3Q24x3I8x2I56x16s4x")
assert _BRIEF.size == RECORD.size

_Who = tuple[int, int, bytes, int, int]


def split(chunk: bytes, interfaces: Interfaces) -> tuple[list[Traffic], bytes]:
    """Traffic by process and interface, and the records that say something else, on end.

    What comes last and is no whole record is among the others.
    """
    sums: dict[_Who, list[int]] = {}
    others = []
    size = RECORD.size
    whole = len(chunk) // size * size
    at = -size
    for sent, received, start_ticks, kind, occurrences, pid, netns, ifindex, comm in (
        _BRIEF.iter_unpack(memoryview(chunk)[:whole])
    ):  # fmt: skip
        at += size
        if kind != Kind.TRAFFIC or occurrences or sent >= MOST_BYTES or received >= MOST_BYTES:
            others.append(chunk[at : at + size])
            continue
        who = (pid, start_ticks, comm, ifindex, netns)
        total = sums.get(who)
        if total is None:
            sums[who] = [sent, received]
        else:
            total[0] += sent
            total[1] += received
    others.append(chunk[whole:])
    traffic = [
        Traffic(process(*who[:3]), interfaces.name(*who[3:]), sent, received)
        for who, (sent, received) in sums.items()
    ]
    return traffic, b"".join(others)
