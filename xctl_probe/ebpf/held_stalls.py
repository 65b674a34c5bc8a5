"""Stalls that are over, and that nothing but the silence of a peer on another host has shown.

Whether the peer has answered the process on another connection meanwhile, which makes the wait an
expected one, is known at the next drain.
"""

from __future__ import annotations

from collections import Counter

from xctl_probe.ebpf.peer_answers import DrainedAnswers
from xctl_probe.ebpf.reported_stall import ReportedStall
from xctl_probe.fair import Room

_MOST = 16_384  # of all users


class HeldStalls:
    """Such stalls until then."""

    def __init__(self, answers: DrainedAnswers) -> None:
        self._answers = answers
        self._held: list[ReportedStall] = []
        self._room: Room[int] = Room(_MOST)
        self.left_out: Counter[int | None] = Counter()  # by uid; the reader resets it

    def hold(self, stall: ReportedStall) -> None:
        """Keep a stall until a drain was asked about its process."""
        uid = stall.record.uid
        if not self._room.take(uid, 1):
            self.left_out[uid] += 1
            return
        self._held.append(stall)
        self._answers.want([stall.record])

    def decided(self) -> list[ReportedStall]:
        """Return those without another answer, of all that the last drain was asked about.

        Of an answer after the end, it is not known whether one came before: it counts.
        """
        held, self._held = self._held, []
        found = []
        for stall in held:
            record = stall.record
            if not self._answers.was_asked(record):
                self._held.append(stall)
                continue
            self._room.give_back(record.uid, 1)
            if not (self._answers.came_since(record) or self._answers.came_lately(record)):
                found.append(stall)
        return found
