"""Stalls that a closed window began: the one piece of memory behind the cause of a stall."""

from __future__ import annotations

from collections.abc import Iterable

from xctl_probe.ebpf.abi import Kind, Record
from xctl_probe.ebpf.stall_policy import cause
from xctl_probe.events import Cause

_SAME_BEGIN_NS = 50_000_000  # two stalls that are seen while they last begin further apart


class ClosedWindows:
    """Remembers, from one look at the sockets to the next, whose window was closed.

    A peer that does not read may throw away what overran its buffer and open its window again
    (Linux 6.17 on): what follows looks like loss, and is still the peer's doing until the
    process gets more into the buffer.
    """

    def __init__(self) -> None:
        self._begun_ns: dict[tuple[int, int], int] = {}

    def note(self, records: Iterable[Record]) -> None:
        """Everything that waited at one look; who did not is forgotten."""
        self._begun_ns = {
            (record.inode, record.direction): record.time_ns - record.span_ns
            for record in records
            if record.kind == Kind.ONGOING and self.cause(record) is Cause.PEER_WINDOW
        }

    def cause(self, record: Record) -> Cause | None:
        """Why, with what was seen earlier in the same stall."""
        began_ns = self._begun_ns.get((record.inode, record.direction))
        if began_ns is None:
            return cause(record)
        # One that has ended was the last that was seen: its record is told before the next look.
        if record.kind == Kind.ONGOING:
            apart_ns = abs(record.time_ns - record.span_ns - began_ns)
            if apart_ns > _SAME_BEGIN_NS:
                return cause(record)
        return Cause.PEER_WINDOW
