"""Answers of the peers of waits, from the traffic of their processes; see `stalls.peer_answers`."""

from __future__ import annotations

from collections.abc import Iterable

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.stalls.peer_answers import ANSWERS_APART_NS, PeerAnswers

_Key = tuple[int, int, bytes, int, int]


class DrainedAnswers:
    """Answers to the processes that wait, or have waited since the drain before the last one.

    One that has just ended is decided at the next drain.  Times are monotonic, in ns.
    """

    def __init__(self) -> None:
        self._answers: PeerAnswers[_Key] = PeerAnswers()
        self._wanted: set[_Key] = set()  # since the last drain
        self._before: set[_Key] = set()  # between the two before
        self._asked: set[_Key] = set()  # as the last drain began
        self._waiting: set[int] = set()  # connections, in the last sample

    def begin_sample(self, waits: Iterable[RawEvent]) -> None:
        """Note which connections wait now: their peer owes an answer there."""
        self._waiting = {wait.cookie for wait in waits}

    def want(self, waits: Iterable[RawEvent]) -> None:
        """From now on, note the answers to the processes of these waits."""
        self._wanted.update(map(_key, waits))
        self._answers.want(self._before | self._wanted)

    def ask(self) -> set[int]:
        """Begin a drain: return the processes whose traffic it has to bring."""
        self._asked = self._before | self._wanted
        return {key[0] for key in self._asked}

    def note(self, traffic: Iterable[RawEvent]) -> None:
        """Note the last data of each connection in this drain."""
        for record in traffic:
            self._answers.note(_key(record), record.cookie, record.time_ns)
        self._before, self._wanted = self._wanted, set()
        self._answers.want(self._before)

    def was_asked(self, wait: RawEvent) -> bool:
        """Return whether the last drain was asked about the process of this wait."""
        return _key(wait) in self._asked

    def came_since(self, wait: RawEvent) -> bool:
        """Return whether the peer has answered on another connection since the wait began."""
        return self._answers.last_ns(_key(wait), wait.cookie) > wait.time_ns - wait.span_ns

    def came_lately(self, wait: RawEvent) -> bool | None:
        """Return whether it has answered another connection lately, on which nothing waits.

        None before a drain was asked about the process.
        """
        if not self.was_asked(wait):
            return None
        last_ns = self._answers.last_ns(_key(wait), wait.cookie, self._waiting)
        return wait.time_ns - last_ns < ANSWERS_APART_NS


def _key(record: RawEvent) -> _Key:
    return (
        record.pid, record.start_ticks, record.remote_address, record.remote_port, record.netns
    )  # fmt: skip
