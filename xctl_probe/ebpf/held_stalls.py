"""Stalls that are over, and that nothing but the silence of a peer on another host has shown.

Whether the peer has answered the process on another connection meanwhile, which makes the wait an
expected one, is known at the next drain.
"""

from __future__ import annotations

from collections import Counter

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.ebpf.peer_answers import DrainedAnswers, peer_of
from xctl_probe.ebpf.reported_stall import ReportedStall
from xctl_probe.fair import Room

_MOST = 16_384  # of all users

_End = tuple[int, int]  # cookie and time


class HeldStalls:
    """Such stalls until then."""

    def __init__(self, answers: DrainedAnswers, stall_ns: int) -> None:
        self._answers = answers
        self._stall_ns = stall_ns
        self._held: list[ReportedStall] = []
        self._over: list[RawEvent] = []  # other late waits that are over since the last drain
        self._room: Room[int] = Room(_MOST)
        self.left_out: Counter[int | None] = Counter()  # by uid; the reader resets it

    def hold(self, stall: ReportedStall) -> None:
        """Keep a stall until a drain was asked about its process."""
        uid = stall.record.uid
        if self._room.take(uid, 1):
            if self._answers.want(stall.record):
                self._held.append(stall)
                return
            self._room.give_back(uid, 1)
        self.left_out[uid] += 1

    def note_over(self, record: RawEvent) -> None:
        """Remember the end of a late wait that is not held: see `decided`."""
        if len(self._over) < _MOST:
            self._over.append(record)

    def decided(self) -> list[ReportedStall]:
        """Return those without another answer, of all that the last drain was asked about.

        Of an answer after the end, it is not known whether one came before: it counts.  Those that
        were over at the same time do not excuse each other: their peer has returned.
        """
        known, held = [], self._held
        self._held = []
        for stall in held:
            self._room.give_back(stall.record.uid, 1)
            if self._answers.was_asked(stall.record):
                known.append(stall)
            else:
                self.hold(stall)
        over, self._over = self._over, []
        together = _over_together([*(stall.record for stall in known), *over], self._stall_ns)
        return [
            stall
            for stall in known
            if not self._is_expected(stall.record, together[_end_of(stall.record)])
        ]

    def _is_expected(self, record: RawEvent, together: set[int]) -> bool:
        answers = self._answers
        return answers.came_since(record, together) or answers.came_lately(record, together) is True


def _over_together(records: list[RawEvent], within_ns: int) -> dict[_End, set[int]]:
    """Return the connections of one process to one peer that ended one soon after the other.

    By the end of each wait.
    """
    found: dict[_End, set[int]] = {}
    before: RawEvent | None = None
    group: set[int] = set()
    for record in sorted(records, key=lambda one: (peer_of(one), one.time_ns)):
        if (
            before is None
            or peer_of(before) != peer_of(record)
            or record.time_ns - before.time_ns >= within_ns
        ):
            group = set()
        group.add(record.cookie)
        found[_end_of(record)] = group
        before = record
    return found


def _end_of(record: RawEvent) -> _End:
    return record.cookie, record.time_ns
