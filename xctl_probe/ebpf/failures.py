"""Failures of connections, in bounded memory: a flood of them is added up.

The first sockets of a process and peer have an event each, with the socket.  The others are added
up by process and peer, then by user.  Sums are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from xctl_probe.ebpf.abi import Kind, RawEvent, process, socket_of
from xctl_probe.events import ErrorKind, Socket, SocketError

_SOCKETS = 16  # of one process and peer, in one interval
_OF_PROCESS = 64  # events
_OF_USER = 256  # events, and as many sums
# Those of each process that have room where its user's other processes have used theirs.
_FIRST, _MOST_OF_USER = 4, 1_024

_Peer = tuple[int, int, bytes, int, int, bytes, int, int]


@dataclass(slots=True)
class _Sum:
    record: RawEvent  # the first one
    count: int = 0
    sockets: int = 0
    duplicates: int = 0


class Failures:
    """Failures since the last drain."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._peers: Counter[_Peer] = Counter()
        self._processes: Counter[tuple[int, int, int]] = Counter()
        self._users: Counter[int] = Counter()
        self._sums: dict[_Peer, _Sum] = {}
        self._sums_of_user: Counter[int] = Counter()
        self._rest: dict[tuple[int, int], _Sum] = {}  # by user and kind

    def has_room(self, record: RawEvent, kind: int, count: int) -> bool:
        """True for a failure that gets its own event; any other one is added up here."""
        peer = (
            record.pid, record.start_ticks, record.comm, record.uid, kind,
            record.remote_address, record.remote_port, record.netns,
        )  # fmt: skip
        owner = (record.uid, record.pid, record.start_ticks)
        user = record.uid
        room = self._users[user] < _OF_USER or (
            self._processes[owner] < _FIRST and self._users[user] < _MOST_OF_USER
        )
        if room and self._processes[owner] < _OF_PROCESS and self._peers[peer] < _SOCKETS:
            self._users[user] += 1
            self._processes[owner] += 1
            self._peers[peer] += 1
            return True
        total = self._sums.get(peer)
        if total is None and self._sums_of_user[user] < _OF_USER:
            self._sums_of_user[user] += 1
            total = self._sums[peer] = _Sum(record)
        if total is None:
            total = self._rest.setdefault((user, kind), _Sum(record))
        total.count += count
        total.sockets += 1
        total.duplicates += record.duplicates
        return False

    def sums(
        self, kinds: Mapping[Kind, ErrorKind], interface: Callable[[int, int], str | None]
    ) -> Iterator[SocketError]:
        """Yield the sums, and reset them.

        `interface` returns a name by ifindex and network namespace.
        """
        for peer, total in self._sums.items():
            record = total.record
            owner = process(record.pid, record.start_ticks, record.comm)
            socket = socket_of(record, interface(record.ifindex, record.netns))
            yield SocketError(
                owner, socket, kinds[Kind(peer[4])], total.count, total.sockets, total.duplicates
            )
        for (user, kind), total in self._rest.items():
            nobodys = Socket(0, 0, "tcp", "", 0, "", 0, uid=user)
            yield SocketError(
                None, nobodys, kinds[Kind(kind)], total.count, total.sockets, total.duplicates
            )
        self._forget()
