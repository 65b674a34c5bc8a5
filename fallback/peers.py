"""What is usual with the peer of each connection, and whether it answers others meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from xctl_probe.fallback.message_arrays import Records
from xctl_probe.fallback.row import UNSET, Ints, Turns
from xctl_probe.fallback.rows import Rows
from xctl_probe.linux.addresses import address_text
from xctl_probe.stalls.request_history import PeerHistory, RequestHistory


class Answers(NamedTuple):
    """When the peer last sent data to the same process on another connection; 0: never.

    `last_ns` of any, `idle_ns` of those on which no reply is late.
    """

    last_ns: int = 0
    idle_ns: int = 0


NEVER = Answers()


class Peers:
    """Request/reply histories by user and peer, shared by the rows of its connections."""

    def __init__(self, rows: Rows, stall_ns: int, reply_ns: int) -> None:
        self._rows = rows
        self._stall_ns, self._reply_ns = stall_ns, reply_ns
        self._histories = PeerHistory()

    def add(self, numbers: Ints, fields: Records) -> None:
        """Find the peers of rows.  Requests go to those of opened connections only."""
        for index in np.flatnonzero(self._rows.array["opened"][numbers]).tolist():
            field = fields[index]
            remote = address_text(int(field["family"]), bytes(field["remote"]))
            peer = self._histories.of(remote, int(field["port"]), uid=int(field["uid"]))
            self._rows.note_peer(int(numbers[index]), peer)

    def of(self, number: int) -> RequestHistory | None:
        """Return the history of the peer of a row; None for a connection that was accepted."""
        return self._rows.peers[number]

    def note(self, numbers: Ints, turns: Turns) -> None:
        """Count what the turns of these rows show."""
        prompt = turns.answered
        if turns.late:
            is_late = np.isin(prompt, list(turns.late))
            late, prompt = prompt[is_late], prompt[~is_late]
            self._note_late(numbers[late], [turns.late[index] for index in late.tolist()])
        for peer, count in self._by_peer(numbers[prompt]):
            peer.answered += count
        for peer, count in self._by_peer(numbers[turns.unanswered]):
            peer.unanswered += count

    def answers(self, waiting: list[int], now_ns: int) -> dict[int, Answers]:
        """Return the answers of peers on other connections, by the rows whose reply is late."""
        rows = self._rows.array
        pending_ns = rows["pending_ns"][waiting]
        is_late = (pending_ns != UNSET) & (now_ns - pending_ns >= self._reply_ns)
        late = np.array(waiting, np.int64)[is_late]
        if not len(late):
            return {}
        known = np.isin(rows["holder"], rows["holder"][late]) & (rows["received_payload"] > 0)
        others = np.flatnonzero(known)
        holders, peers = rows["holder"][others], rows["peer"][others]
        received_ns, pending_ns = rows["received_ns"][others], rows["pending_ns"][others]
        idle = (pending_ns == UNSET) | (now_ns - pending_ns < self._reply_ns)
        order = np.lexsort((received_ns, peers, holders))
        last = _two_last(others, holders, peers, received_ns, order)
        last_idle = _two_last(others, holders, peers, received_ns, order[idle[order]])
        found = {}
        for number in late.tolist():
            key = int(rows["holder"][number]), int(rows["peer"][number])
            if all(key):
                answers = (_of_another(of.get(key, ()), number) for of in (last, last_idle))
                found[number] = Answers(*answers)
        return found

    def _note_late(self, numbers: Ints, waits: list[tuple[int, int]]) -> None:
        for number, (waited_ns, end_ns) in zip(numbers.tolist(), waits, strict=True):
            peer = self.of(number)
            if peer is not None:
                peer.record_latency(waited_ns, self._stall_ns, end_ns)
                peer.answered += 1

    def _by_peer(self, numbers: Ints) -> Iterator[tuple[RequestHistory, int]]:
        """Yield the peers of these rows, each with the number of its rows."""
        found, first, counts = np.unique(
            self._rows.array["peer"][numbers], return_index=True, return_counts=True
        )
        for identity, index, count in zip(found, first, counts, strict=True):
            peer = self.of(int(numbers[index]))
            if identity and peer is not None:
                yield peer, int(count)


def _two_last(
    numbers: Ints, holders: Ints, peers: Ints, received_ns: Ints, order: Ints
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return time and row of the two that received last, or of one, by holder and peer.

    `order` sorts by holder, peer and time.
    """
    if not len(order):
        return {}
    holders, peers = holders[order], peers[order]
    last = np.ones(len(order), np.bool_)  # of its holder and peer
    last[:-1] = (holders[:-1] != holders[1:]) | (peers[:-1] != peers[1:])
    found = {}
    for at in np.flatnonzero(last).tolist():
        key = int(holders[at]), int(peers[at])
        two = [at, at - 1] if at and not last[at - 1] else [at]
        found[key] = [(int(received_ns[order[one]]), int(numbers[order[one]])) for one in two]
    return found


def _of_another(last: Iterable[tuple[int, int]], number: int) -> int:
    return max((at_ns for at_ns, one in last if one != number), default=0)
