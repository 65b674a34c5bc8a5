"""Whether the peer of a wait answers the same process on other connections.

A process with an event loop that is connected to one peer several times, as a worker to its
scheduler, may have sent last on a connection that awaits nothing.  Where the peer goes on to answer
its other connections, it is not known to be late on this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xctl_probe.ebpf.abi import RawEvent

_Key = tuple[int, int, bytes, int, int]


@dataclass(slots=True)
class _Heard:
    cookie: int  # of the connection that got data last
    at_ns: int
    other_ns: int = 0  # when any other one did


class PeerAnswers:
    """Answers to the processes that wait now; times are monotonic, in ns."""

    def __init__(self) -> None:
        self._heard: dict[_Key, _Heard | None] = {}
        self._drained_ns = 0

    @property
    def pids(self) -> set[int]:
        """The processes whose traffic is wanted."""
        return {key[0] for key in self._heard}

    def want(self, waits: Iterable[RawEvent]) -> None:
        """Forget all but the peers of these waits."""
        self._heard = {key: self._heard.get(key) for key in map(_key, waits)}

    def note(self, traffic: Iterable[RawEvent], now_ns: int) -> None:
        """Note the data that came since the last call: after that, it is not known when."""
        for record in traffic:
            key = _key(record)
            if key not in self._heard:
                continue
            heard = self._heard[key]
            if heard is None:
                self._heard[key] = _Heard(record.cookie, self._drained_ns)
            elif heard.cookie == record.cookie:
                heard.at_ns = self._drained_ns
            else:
                other_ns = heard.at_ns
                self._heard[key] = _Heard(record.cookie, self._drained_ns, other_ns)
        self._drained_ns = now_ns

    def last_ns(self, wait: RawEvent) -> int:
        """Return since when at least the peer has answered on another connection; 0: never."""
        heard = self._heard.get(_key(wait))
        if heard is None:
            return 0
        return heard.other_ns if heard.cookie == wait.cookie else heard.at_ns


def _key(record: RawEvent) -> _Key:
    return (
        record.pid, record.start_ticks, record.remote_address, record.remote_port, record.netns
    )  # fmt: skip
