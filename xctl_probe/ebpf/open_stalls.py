"""Stalls that were reported as ongoing, each until its last record."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xctl_probe.ebpf.abi import PROTOCOLS_UDP, Evidence, Kind, RawEvent
from xctl_probe.ebpf.reported_stall import ReportedStall
from xctl_probe.events import Cause

_MOST = 4_096  # beyond them, the oldest is dropped

Key = tuple[int, int]  # inode and direction


class OpenStalls:
    """Such stalls by socket and direction, and those that a sample has closed since the last drain.

    A wait that a sample does not have may still be open: its answer has come and is not read, or it
    is one of too many.
    """

    def __init__(self) -> None:
        self._open: dict[Key, ReportedStall] = {}
        self._closed: list[ReportedStall] = []

    def __len__(self) -> int:
        return len(self._open)

    def of(self, record: RawEvent) -> ReportedStall | None:
        """Return the reported stall that this wait is, None where it is another wait."""
        open_ = self._open.get(key(record))
        if open_ is None or _has_no_end_event(open_.record) or _has_no_end_event(record):
            return open_
        if began_ns(record) > open_.record.time_ns:
            del self._open[key(record)]  # its end event was lost
            return None
        return open_

    def update(self, record: RawEvent, open_: ReportedStall, stall: ReportedStall | None) -> None:
        """Close the reported stall, unless it goes on: as `stall`, by the record of a sample."""
        if stall is None or _is_another_stall(open_, stall) or _end_differs(open_, record):
            del self._open[key(record)]
            self._closed.append(_closed(open_, record.time_ns))
        elif _has_no_end_event(record):
            self._open[key(record)] = stall

    def close_unseen(self, waiting: Collection[Key]) -> None:
        """Close what was reported and waits no more, where the kernel emits nothing at its end."""
        for which, stall in list(self._open.items()):
            if _has_no_end_event(stall.record) and which not in waiting:
                del self._open[which]
                self._closed.append(_closed(stall, stall.record.time_ns))

    def add(self, stalls: Iterable[ReportedStall]) -> None:
        """Note what is reported as ongoing now."""
        self._open |= {key(stall.record): stall for stall in stalls}
        while len(self._open) > _MOST:
            del self._open[next(iter(self._open))]

    def take_closed(self) -> list[ReportedStall]:
        """Return the stalls that samples have closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def end(
        self, record: RawEvent, stall: ReportedStall | None
    ) -> tuple[ReportedStall | None, bool]:
        """Return the stall to report as over, and whether it was reported as ongoing.

        `stall` is what the finished wait `record` was, by the rules alone.
        """
        open_ = self.of(record)
        if open_ is None:
            return self._end_unreported(record, stall)
        del self._open[key(record)]
        given_up = open_.cause is Cause.KEEPALIVE and not got_data(record)
        superseded = open_.probable and record.evidence & Evidence.SUPERSEDED
        if given_up or superseded or stall is None or stall.probable > open_.probable:
            return _closed(open_, record.time_ns), True
        return _of_same_process(stall, open_), True

    def _end_unreported(
        self, record: RawEvent, stall: ReportedStall | None
    ) -> tuple[ReportedStall | None, bool]:
        """As `end`, where no stall is open: a sample may have closed it just before."""
        if stall is None or record.evidence & Evidence.SUPERSEDED:
            return None, False  # who sends again had not waited
        of_wait = [one for one in self._closed if _is_one_wait(one.record, record)]
        if any(_is_another_stall(one, stall) for one in of_wait):
            return None, True  # what was reported has ended there
        self._closed = [one for one in self._closed if one not in of_wait]
        return stall, bool(of_wait)


def key(record: RawEvent) -> Key:
    """Return what a wait is known by: its socket and direction."""
    return record.inode, record.direction


def began_ns(record: RawEvent) -> int:
    """Return when the wait began (monotonic, ns)."""
    return record.time_ns - record.span_ns


def got_data(record: RawEvent) -> bool:
    """True where the wait ended with data."""
    return bool(record.evidence & Evidence.DATA)


def _is_one_wait(before: RawEvent, end: RawEvent) -> bool:
    """True where the wait that is over had begun when the other one was seen last."""
    return key(before) == key(end) and began_ns(end) < before.time_ns


def _has_no_end_event(record: RawEvent) -> bool:
    """True where the kernel emits nothing when the wait is over."""
    # A receive that spins may be given up.
    unmarked = bool(record.evidence & (Evidence.KEEPALIVE | Evidence.SPINNING))
    return record.protocol in PROTOCOLS_UDP or unmarked


def _of_same_process(stall: ReportedStall, open_: ReportedStall) -> ReportedStall:
    """Return the stall with the process that it was reported with.

    The data may have come to another one, as to the parent of a child that waits.
    """
    was = open_.record
    record = stall.record._replace(
        pid=was.pid, start_ticks=was.start_ticks, cgroup=was.cgroup, comm=was.comm
    )
    return stall._replace(record=record)


def _is_another_stall(open_: ReportedStall, now: ReportedStall) -> bool:
    """True where what was certain is over, or the reported process has left the wait to another."""
    return now.probable > open_.probable or now.record.pid != open_.record.pid


def _end_differs(open_: ReportedStall, record: RawEvent) -> bool:
    return _has_no_end_event(open_.record) != _has_no_end_event(record)


def _closed(stall: ReportedStall, now_ns: int) -> ReportedStall:
    since_ns = began_ns(stall.record)
    record = stall.record._replace(kind=Kind.STALL, time_ns=now_ns, span_ns=now_ns - since_ns)
    return ReportedStall(record, stall.cause, stall.probable)
