"""Answers of the peers of waits, from the traffic of their processes; see `stalls.peer_answers`."""

from __future__ import annotations

from collections.abc import Iterable

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.stalls.peer_answers import PeerAnswers

_Key = tuple[int, int, bytes, int, int]


class DrainedAnswers:
    """Answers to the processes that wait now, by drain; times are monotonic, in ns."""

    def __init__(self) -> None:
        self._answers: PeerAnswers[_Key] = PeerAnswers()
        self._drained_ns = 0

    @property
    def pids(self) -> set[int]:
        """The processes whose traffic is wanted."""
        return {key[0] for key in self._answers.wanted}

    def want(self, waits: Iterable[RawEvent]) -> None:
        """Forget all but the peers of these waits."""
        self._answers.want(map(_key, waits))

    def note(self, traffic: Iterable[RawEvent], now_ns: int) -> None:
        """Note the data that came since the last call: after that, it is not known when."""
        for record in traffic:
            self._answers.note(_key(record), record.cookie, self._drained_ns)
        self._drained_ns = now_ns

    def last_ns(self, wait: RawEvent) -> int:
        """Return since when at least the peer has answered on another connection; 0: never."""
        return self._answers.last_ns(_key(wait), wait.cookie)


def _key(record: RawEvent) -> _Key:
    return (
        record.pid, record.start_ticks, record.remote_address, record.remote_port, record.netns
    )  # fmt: skip
