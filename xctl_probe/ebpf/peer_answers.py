"""Whether the peer of a wait answers the same process on other connections.

A process with an event loop that is connected to one peer several times, as a worker to its
scheduler, may have sent last on a connection that awaits nothing.  Where the peer goes on to answer
its other connections, it is not known to be late on this one.  A drain reads when data came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.stalls.policy import ANSWERS_APART_NS

_KEPT = 16  # connections of a process to a peer: those that got data last

_Key = tuple[int, int, bytes, int, int]


class DrainedAnswers:
    """Answers to the processes that wait, or have waited since the drain before the last one.

    One that has just ended is decided at the next drain.  Times are monotonic, in ns.
    """

    def __init__(self) -> None:
        self._came: dict[_Key, dict[int, int]] = {}  # when the last data did, by connection
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

    def ask(self) -> set[int]:
        """Begin a drain: return the processes whose traffic it has to bring."""
        self._asked = self._before | self._wanted
        return {key[0] for key in self._asked}

    def note(self, traffic: Iterable[RawEvent]) -> None:
        """Note the last data of each connection, as this drain has brought it."""
        self._came = {key: self._came.get(key, {}) for key in self._asked}
        for record in traffic:
            came = self._came.get(_key(record))
            if came is None:
                continue
            came[record.cookie] = max(record.time_ns, came.get(record.cookie, 0))
            if len(came) > _KEPT:
                del came[min(came, key=came.__getitem__)]
        self._before, self._wanted = self._wanted, set()

    def was_asked(self, wait: RawEvent) -> bool:
        """Return whether the last drain was asked about the process of this wait."""
        return _key(wait) in self._asked

    def came_since(self, wait: RawEvent) -> bool:
        """Return whether the peer has answered on another connection since the wait began."""
        return self._last_ns(wait) > wait.time_ns - wait.span_ns

    def came_lately(self, wait: RawEvent) -> bool | None:
        """Return whether it has answered another connection lately, on which nothing waits.

        None before a drain was asked about the process.
        """
        if not self.was_asked(wait):
            return None
        return wait.time_ns - self._last_ns(wait, self._waiting) < ANSWERS_APART_NS

    def _last_ns(self, wait: RawEvent, without: Collection[int] = ()) -> int:
        """Return when data came last on another connection; 0: never, or it is not known."""
        came = self._came.get(_key(wait), {})
        others = (ns for one, ns in came.items() if one != wait.cookie and one not in without)
        return max(others, default=0)


def _key(record: RawEvent) -> _Key:
    return (
        record.pid, record.start_ticks, record.remote_address, record.remote_port, record.netns
    )  # fmt: skip
