"""Time that sockets waited: what each record of a stall adds to the one before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xctl_probe.events import Stall
from xctl_probe.exporters.records import StallRecord
from xctl_probe.exporters.same_stall import NS_PER_MS, StallKey, is_another, pid_of, stall_key

_MOST_OPEN = 4_096
# A stall that lasts has a record in each interval, unless it is one of too many.
_LONGEST_UNSEEN_MS = 60_000


class Wait(NamedTuple):
    """Values of the labels of a wait: empty where unknown."""

    interface: str
    direction: str
    cause: str
    peer_comm: str
    peer_state: str
    probable: str


@dataclass(slots=True)
class _Open:
    """The last record of a stall that lasts."""

    seen_ms: int  # since the Unix epoch
    seen_ns: int  # monotonic
    duration_ns: int
    pid: int | None
    wait: Wait


class Waits:
    """Joins the records of each stall, as `recordings.history` does, in bounded memory."""

    def __init__(self) -> None:
        self._open: OrderedDict[StallKey, _Open] = OrderedDict()  # the oldest record first

    def added(self, record: StallRecord, now_ns: int) -> tuple[Wait, int]:
        """Return the labels of the wait, and the ns since the last record of this stall.

        `now_ns` is monotonic: a step of the wall clock begins no other stall.

        The sum over all records of a stall is its length.  What only an earlier record has of the
        peer stays: the last record has no `peer_state`.
        """
        stall, key = record.stall, stall_key(record.stall)
        before = self._open.pop(key, None)
        if before is not None:
            steady_ms = before.seen_ms + (now_ns - before.seen_ns) // NS_PER_MS
            ts_ms = min(record.ts_ms, steady_ms)
            if is_another(before.seen_ms, before.duration_ns, before.pid, stall, ts_ms):
                before = None
        wait = _wait(stall, before.wait if before else None)
        counted_ns = before.duration_ns if before else 0
        added_ns = max(stall.duration_ns - counted_ns, 0)
        if stall.ongoing:
            pid = pid_of(stall) or (before.pid if before else None)
            self._open[key] = _Open(record.ts_ms, now_ns, counted_ns + added_ns, pid, wait)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return wait, added_ns

    def expire(self, now_ms: int) -> None:
        """Forget stalls without a record for a minute; `now_ms` is the time of the interval."""
        for key in list(self._unseen(now_ms)):
            del self._open[key]

    def _unseen(self, now_ms: int) -> Iterator[StallKey]:
        for key, one in self._open.items():
            if now_ms - one.seen_ms < _LONGEST_UNSEEN_MS:
                return
            yield key


def _wait(stall: Stall, before: Wait | None) -> Wait:
    peer_comm = stall.peer.comm if stall.peer else ""
    peer_state = stall.peer_activity.value if stall.peer_activity else ""
    if before is not None:
        peer_comm = peer_comm or before.peer_comm
        peer_state = peer_state or before.peer_state
    return Wait(
        stall.socket.interface or "",
        stall.direction.value,
        stall.cause.value if stall.cause else "",
        peer_comm,
        peer_state,
        "true" if stall.probable else "",
    )
