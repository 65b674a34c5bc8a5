"""What is usual with the peer of each connection, and whether it answers others meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from xctl_probe.fallback.message_arrays import Records
from xctl_probe.fallback.row import Ints, Turns
from xctl_probe.fallback.rows import Rows
from xctl_probe.linux.addresses import address_text
from xctl_probe.stalls.peer_answers import PeerAnswers
from xctl_probe.stalls.request_history import PeerHistory, RequestHistory


class Peers:
    """Request/reply histories by user and peer, shared by the rows of its connections."""

    def __init__(self, rows: Rows, stall_ns: int) -> None:
        self._rows = rows
        self._stall_ns = stall_ns
        self._histories = PeerHistory()
        # By holder and peer; connections by row.
        self._answers: PeerAnswers[tuple[int, int]] = PeerAnswers()

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
        self._note_answers(numbers[turns.answered])

    def want(self, numbers: Iterable[int]) -> None:
        """From now on, note the answers to the processes of these rows: they wait."""
        self._answers.want(map(self._key, numbers))

    def answered_ns(self, number: int) -> int:
        """Return since when at least the peer has answered another connection; 0: never."""
        return self._answers.last_ns(self._key(number), number)

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

    def _note_answers(self, numbers: Ints) -> None:
        """Note the answers to processes that wait."""
        holders = [holder for holder, _ in self._answers.wanted]
        if not holders:
            return
        rows = self._rows.array
        for number in numbers[np.isin(rows["holder"][numbers], holders)].tolist():
            received_ns = int(rows["received_ns"][number])
            self._answers.note(self._key(number), number, received_ns)

    def _key(self, number: int) -> tuple[int, int]:
        return int(self._rows.array["holder"][number]), id(self.of(number))
