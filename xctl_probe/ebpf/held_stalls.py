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


class HeldStalls:
    """Such stalls until then."""

    def __init__(self, answers: DrainedAnswers, stall_ns: int) -> None:
        self._answers = answers
        self._stall_ns = stall_ns
        self._held: list[ReportedStall] = []
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
        return [
            stall
            for together in _over_together(known, self._stall_ns)
            for stall in together
            if not self._is_expected(stall.record, {one.record.cookie for one in together})
        ]

    def _is_expected(self, record: RawEvent, together: set[int]) -> bool:
        answers = self._answers
        return answers.came_since(record, together) or answers.came_lately(record, together) is True


def _over_together(stalls: list[ReportedStall], within_ns: int) -> list[list[ReportedStall]]:
    """Return the stalls in groups: of one process and peer, over one soon after the other."""
    groups: list[list[ReportedStall]] = []
    order = sorted(stalls, key=lambda stall: (peer_of(stall.record), stall.record.time_ns))
    for stall in order:
        before = groups[-1][-1].record if groups else None
        if (
            before is None
            or peer_of(before) != peer_of(stall.record)
            or stall.record.time_ns - before.time_ns >= within_ns
        ):
            groups.append([])
        groups[-1].append(stall)
    return groups
