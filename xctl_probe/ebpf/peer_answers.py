"""Whether the peer of a wait answers the same process on other connections.

A process with an event loop that is connected to one peer several times, as a worker to its
scheduler, may have sent last on a connection that awaits nothing.  Where the peer goes on to answer
its other connections, it is not known to be late on this one.  A drain reads when data came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain, islice

from xctl_probe.ebpf.abi import RawEvent
from xctl_probe.ebpf.asked_processes import MOST_ASKED, AskedProcesses
from xctl_probe.fair import Room, shares
from xctl_probe.stalls.policy import ANSWERS_APART_NS

_KEPT = 16  # connections of a process to a peer: those that got data last
_MOST = 16_384  # processes and peers between two drains, of all users

_Key = tuple[int, int, bytes, int, int]


class DrainedAnswers:
    """Answers to the processes that wait, or have waited since the drain before the last one.

    One that has just ended is decided at the next drain.  Times are monotonic, in ns; begins of
    waits are exact to half a stall length, `stall_ns`.
    """

    def __init__(self, stall_ns: int) -> None:
        self._margin_ns = stall_ns // 2
        self._came: dict[_Key, dict[int, int]] = {}  # when the last data did, by connection
        self._wanted: dict[_Key, int] = {}  # since the last drain; the user of each
        self._before: dict[_Key, int] = {}  # between the two before
        self._room: Room[int] = Room(_MOST)
        self._asked: set[_Key] = set()  # by the last drain
        self._late: Collection[int] = ()  # connections
        self._is_drain = False
        self._turn = 0  # of the processes, where they are too many

    def begin_sample(self, late: Collection[int], *, is_drain: bool) -> None:
        """Begin a sample in which these connections (cookies) have a late reply.

        `is_drain`: all answers up to now are known.
        """
        self._late, self._is_drain = late, is_drain

    def want(self, wait: RawEvent) -> bool:
        """Note the answers to the process of this wait from now on; False: no room for its user."""
        key = peer_of(wait)
        if key not in self._wanted:
            if not self._room.take(wait.uid, 1):
                return False
            self._wanted[key] = wait.uid
        return True

    def ask(self, asked: AskedProcesses) -> None:
        """Begin a drain: ask for the traffic of the processes."""
        wanted = self._before | self._wanted
        by_user: dict[int, dict[int, None]] = {}
        for key, uid in wanted.items():
            by_user.setdefault(uid, {})[key[0]] = None
        given = shares({uid: len(pids) for uid, pids in by_user.items()}, MOST_ASKED)
        self._turn += 1
        pids = asked.ask(
            {pid for uid, of in by_user.items() for pid in _in_turn(of, given[uid], self._turn)}
        )
        self._asked = {key for key in wanted if key[0] in pids}

    def note(self, traffic: Iterable[RawEvent]) -> None:
        """Note the last data of each connection, as this drain has brought it."""
        self._came = {key: self._came.get(key, {}) for key in self._asked}
        for record in traffic:
            came = self._came.get(peer_of(record))
            if came is None:
                continue
            came[record.cookie] = max(record.time_ns, came.get(record.cookie, 0))
            if len(came) > _KEPT:
                del came[min(came, key=came.__getitem__)]
        self._before, self._wanted = self._wanted, {}
        self._room = Room(_MOST)

    def was_asked(self, wait: RawEvent) -> bool:
        """Return whether the last drain was asked about the process of this wait."""
        return peer_of(wait) in self._asked

    def came_since(self, wait: RawEvent, without: Collection[int] = ()) -> bool:
        """Return whether the peer has answered on another connection since the wait began."""
        began_ns = wait.time_ns - wait.span_ns
        return self._last_ns(wait, without) > began_ns + self._margin_ns

    def came_lately(self, wait: RawEvent, without: Collection[int] = ()) -> bool | None:
        """Return whether it has answered another connection lately, on which no reply is late.

        None where that is not known: it may have answered since the last drain.
        """
        last_ns = self._last_ns(wait, without, self._late)
        if wait.time_ns - last_ns < ANSWERS_APART_NS:
            return True
        return False if self._is_drain and self.was_asked(wait) else None

    def _last_ns(self, wait: RawEvent, *without: Collection[int]) -> int:
        """Return when data came last on another connection; 0: never, or it is not known."""
        came = self._came.get(peer_of(wait), {})
        others = (
            ns
            for one, ns in came.items()
            if one != wait.cookie and not any(one in some for some in without)
        )
        return max(others, default=0)


def _in_turn(pids: Iterable[int], count: int, turn: int) -> Iterable[int]:
    """Return so many of them; of too many, others each turn."""
    some = sorted(pids)
    start = turn * count % len(some)
    return islice(chain(some[start:], some), count)


def peer_of(record: RawEvent) -> _Key:
    """Return the process that waits, and its peer, as a key."""
    return (
        record.pid, record.start_ticks, record.remote_address, record.remote_port, record.netns
    )  # fmt: skip
