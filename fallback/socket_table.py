"""Table of all TCP connections, from sock_diag: samples in, events out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from xctl_probe.events import DroppedEvents, ErrorKind, Event, Socket, SocketError, Stall
from xctl_probe.fallback.byte_totals import ByteTotals
from xctl_probe.fallback.candidates import may_wait
from xctl_probe.fallback.closed_events import ClosedEvents
from xctl_probe.fallback.codes import Codes
from xctl_probe.fallback.connection import Connection, connection_of, keep, socket_of
from xctl_probe.fallback.message_arrays import Messages, Records, messages_from, messages_of
from xctl_probe.fallback.owner_cache import OwnerCache, Owners
from xctl_probe.fallback.peers import NEVER, Answers, Peers
from xctl_probe.fallback.progress import closed_ns, first_seen, observe
from xctl_probe.fallback.reported import Vanished, is_older, set_reported
from xctl_probe.fallback.row import ROW, Ints, Times
from xctl_probe.fallback.rows import Rows
from xctl_probe.fallback.sock_diag import (
    CLOSE,
    ESTABLISHED,
    SYN_SENT,
    TCPDIAG_GETSOCK,
    TcpSample,
    decode,
)
from xctl_probe.fallback.stall_detector import StallDetector
from xctl_probe.fallback.thread_evidence import Processes, ProcessEvidence
from xctl_probe.linux.addresses import InterfaceByAddress, address_text
from xctl_probe.stalls.reply_waits import ReplyWaits

# A kernel worker sends the messages of closed sockets, so they arrive late.
_FIRST_SAMPLES = 2
_MOST_CLOSED = 4_096  # between two intervals
_ANY_OF_2, _ANY_OF_5 = np.ones(2, np.bool_), np.ones(5, np.bool_)
_BATCH = 1_024  # closed sockets at once
_MAX_MISSED_INTERVALS = 8  # missing intervals after which a socket counts as closed


class Diag(Protocol):
    """The kernel's TCP sockets.  `overruns`: how often it dropped messages of closed ones."""

    overruns: int

    def chunks(self) -> Iterator[memoryview]:
        """Yield netlink messages of all sockets of this network namespace, in chunks."""

    def destroyed(self) -> Iterator[bytes]:
        """Yield the inet_diag_msg of each socket that closed since the last call."""


class _Sampled(NamedTuple):
    """Sockets of a dump: the messages, which of them, and their rows and fields."""

    messages: Messages
    which: Ints
    numbers: Ints
    rows: Records
    fields: Records

    def payload(self, index: int) -> bytes:
        """Return one inet_diag_msg."""
        return self.messages.payload(int(self.which[index]))


class SocketTable:
    """TCP connections of this network namespace.

    Without `stalls`, no rule decides about them.  `sample` may run at any time, `collect` runs once
    an interval.  Both raise OSError where the kernel stops answering.
    """

    def __init__(
        self,
        diag: Diag,
        owners: Owners,
        interfaces: InterfaceByAddress,
        stall_ns: int,
        processes: Processes,
        replies: ReplyWaits | None = None,
        *,
        stalls: bool = True,
    ) -> None:
        self._diag = diag
        self._stalls = stalls
        self._owners = owners
        self._interfaces = interfaces
        self._stall_ns = stall_ns
        self._evidence = ProcessEvidence(owners, processes)
        self._replies = replies or ReplyWaits(stall_ns)
        self._detector = StallDetector(stall_ns, self._evidence, self._replies)
        self._rows = Rows()
        self._peers = Peers(self._rows, stall_ns, self._replies.reply_ns)
        self._answers: dict[int, Answers] = {}  # of the candidates
        self._owner_cache = OwnerCache(owners, self._rows)
        self._names: Codes[str] = Codes()  # of interfaces
        # By row: what may wait at this sample, what waits, and what was retransmitted or over.
        self._candidates: dict[int, TcpSample] = {}
        self._waiting: dict[int, Connection] = {}
        self._retransmitting: dict[int, Socket] = {}
        self._ended: dict[int, list[Stall]] = {}
        self._closed: list[int] = []  # rows
        self._vanished = Vanished()
        self._first_sample_ns = 0
        self._closed_events = ClosedEvents()  # overflow of `_closed`
        self._bytes = ByteTotals(self._rows, self._owner_cache, self._names)  # of this interval
        # This sample, the one before, and the one before that.
        self._now_ns = self._last_sample_ns = self._second_last_ns = 0
        self._generation = 0
        self._rests_at, self._all_rest = -1, False  # as found at that sample
        self._unaccepted = False
        self._overruns = 0
        self._routing = 0  # how often the host's routing has changed

    def counts(self) -> dict[str, int]:
        """Return how many sockets are known, and how many of these are idle."""
        active = int(np.count_nonzero(self._rows.array["active"][self._rows.numbers]))
        return {"sockets": len(self._rows), "idle_sockets": len(self._rows) - active}

    @property
    def rests(self) -> bool:
        """True where a sample shows nothing new until a segment moves."""
        if self._rests_at != self._generation:  # many polls follow one sample
            self._rests_at = self._generation
            self._all_rest = not (self._waiting or self._rows.array["active"].any())
        return self._all_rest and not self._owners.is_searching

    @property
    def has_unaccepted(self) -> bool:
        """True where a connection waits in the queue of a listener: its owner is not known yet."""
        return self._unaccepted

    def note_unchanged(self, now_ns: int) -> None:
        """Note that a sample would show what the last one has shown, but later."""
        self._now_ns = now_ns

    def sample(self, now_ns: int) -> None:
        """Sample every socket once; `now_ns` is the monotonic time."""
        self._generation += 1
        self._evidence.begin()
        self._replies.begin_sample()
        self._second_last_ns, self._last_sample_ns = self._last_sample_ns, self._now_ns
        self._now_ns = now_ns
        self._first_sample_ns = self._first_sample_ns or now_ns
        self._candidates.clear()
        self._unaccepted = False
        for chunk in self._diag.chunks():
            self._take(messages_of(chunk, TCPDIAG_GETSOCK))
        destroyed = self._diag.destroyed()
        while batch := list(islice(destroyed, _BATCH)):
            self._take_destroyed(messages_from(batch))
        self._owner_cache.resolve()
        self._decide()

    def collect(self, now_ns: int, interval_ns: int) -> Iterator[Event]:  # noqa: ARG002
        """Yield the events since the last call, after a final sample."""
        self._owners.begin()
        if self._interfaces.refresh():
            self._routing += 1
        self.sample(now_ns)
        self._drop_vanished(now_ns)
        rows = self._rows.array
        waiting = np.array(list(self._waiting), np.int64)
        in_use = np.flatnonzero((rows["dirty"] | rows["active"]) & ~rows["closed"])
        self._owner_cache.revalidate(in_use, waiting, self._generation)
        pending = self._owner_cache.pending()  # reported later: their process may still be found
        ready = rows["dirty"].copy()
        ready[pending] = False
        yield from self._report(np.flatnonzero(ready))
        yield from self._ongoing(set(pending.tolist()))
        yield from self._closed_events.take()
        yield from self._bytes.take()
        self._forget_closed()
        self._owner_cache.trim()
        self._names.trim(self._rows.array, "interface")
        if self._diag.overruns > self._overruns:
            yield DroppedEvents("sock_diag", self._diag.overruns - self._overruns)
            self._overruns = self._diag.overruns

    def _take(self, messages: Messages) -> None:
        """Compare sockets with their rows, and update the rows of those with changes."""
        fields = messages.fields
        numbers = self._find(fields)
        which = np.arange(len(numbers))
        if (numbers < 0).any():
            new = np.flatnonzero(numbers < 0)
            new = new[np.sort(np.unique(fields["cookie"][new], return_index=True)[1])]
            self._vanished.forget(fields["cookie"][new])
            self._add(messages, new, self._now_ns)
            which = np.flatnonzero(numbers >= 0)
            numbers, fields = numbers[which], fields.take(which)
        rows = self._rows.take(numbers)
        changed = rows["active"] | (fields["retries"] != rows["retries"])
        changed |= (fields["activity"] != rows["activity"]) @ _ANY_OF_5
        changed |= (fields["queues"] != rows["queues"]) @ _ANY_OF_2
        self._rows.array["generation"][numbers] = self._generation
        if not changed.all():
            places = np.flatnonzero(changed)
            if not len(places):
                return
            which, numbers = which[places], numbers[places]
            rows, fields = rows.take(places), fields.take(places)
        rows["generation"] = self._generation
        times = Times(self._now_ns, self._last_sample_ns, self._stall_ns)
        self._update(_Sampled(messages, which, numbers, rows, fields), times)

    def _find(self, fields: Records) -> Ints:
        """Return the rows of these sockets, -1 where there is none.

        A socket may be connected once more: its counters begin anew, and it gets another row.  A
        process that closes with a reset wipes them, too, and the kernel keeps none in TIME_WAIT.
        """
        numbers, rows = self._rows.find(fields["cookie"]), self._rows.array
        again = fields["total_retrans"] < rows["retransmits"][numbers]
        again |= fields["bytes_acked"] < rows["activity"][:, 0][numbers]
        again &= (fields["state"] == ESTABLISHED) | (fields["state"] == SYN_SENT)
        again |= (fields["ports"] != rows["ports"][numbers]) & (fields["port"] != 0)
        again &= numbers >= 0
        if again.any():
            self._end_all(numbers[again], self._last_sample_ns)
            numbers = np.where(again, -1, numbers)
        return numbers

    def _update(self, sampled: _Sampled, times: Times) -> None:
        """Update the rows of sockets."""
        rows, numbers = sampled.rows, sampled.numbers
        accepted = self._follow_inodes(rows, sampled.fields)
        was_opened = rows["opened"].copy()
        turns = observe(rows, sampled.fields, times)
        self._follow_routes(rows, sampled.fields)
        rows["dirty"] = True
        self._rows.put(numbers, rows)
        opened = np.flatnonzero(rows["opened"] & ~was_opened)
        if len(opened):
            self._peers.add(numbers[opened], sampled.fields.take(opened))
        for index in accepted:
            inode, uid = int(rows["inode"][index]), int(rows["uid"][index])
            self._owner_cache.request(int(numbers[index]), inode, uid)
        self._peers.note(numbers, turns)
        self._note_retransmits(sampled)
        self._note_candidates(sampled, times)

    @staticmethod
    def _follow_inodes(rows: Records, fields: Records) -> list[int]:
        """Return what was in the queue of a listener: now it is accepted, and has an owner."""
        accepted = (fields["inode"] != 0) & (fields["inode"] != rows["inode"])
        if not accepted.any():
            return []
        for name in ("inode", "uid", "cgroup"):
            rows[name] = np.where(accepted, fields[name], rows[name])
        found: list[int] = np.flatnonzero(accepted).tolist()
        return found

    def _follow_routes(self, rows: Records, fields: Records) -> None:
        """Request the interface again after a change of routing, or of its name."""
        old = (fields["bound_ifindex"] != 0) | (rows["routing"] != self._routing)
        if old.any():
            for index in np.flatnonzero(old).tolist():
                rows["interface"][index] = self._interface(fields[index])
            rows["routing"] = self._routing

    def _interface(self, field: np.void) -> int:
        family, path = int(field["family"]), bytes(field["path"])
        local, remote = address_text(family, path[:16]), address_text(family, path[16:32])
        return self._names.of(self._interfaces.of(local, remote, int(field["bound_ifindex"])))

    def _add(self, messages: Messages, which: Ints, now_ns: int) -> Ints:
        """Add rows for sockets without one; return their numbers."""
        fields = messages.fields.take(which)
        rows = np.zeros(len(which), ROW)
        for name in ("cookie", "ports", "inode", "uid", "cgroup"):
            rows[name] = fields[name]
        times = Times(now_ns, self._last_sample_ns, self._stall_ns)
        turns = first_seen(rows, fields, times)
        if self._generation == 1:
            set_reported(rows)
        rows["dirty"] = rows["active"] | (self._generation > 1)
        rows["generation"], rows["routing"] = self._generation, self._routing
        ways: dict[tuple[int, bytes], int] = {}
        for index, way in enumerate(zip(fields["family"].tolist(), fields["path"], strict=True)):
            key = way[0], way[1].tobytes()
            code = ways.get(key)
            if code is None:
                code = ways[key] = self._interface(fields[index])
            rows["interface"][index] = code
        queued = (rows["inode"] == 0) & (rows["state"] == ESTABLISHED)
        self._unaccepted |= bool(queued.any())
        numbers = self._rows.add(rows)
        self._peers.add(numbers, fields)
        self._peers.note(numbers, turns)
        sampled = _Sampled(messages, which, numbers, rows, fields)
        self._note_retransmits(sampled)
        self._note_candidates(sampled, times)
        owned = zip(numbers.tolist(), rows["inode"].tolist(), rows["uid"].tolist(), strict=True)
        for number, inode, uid in owned:
            self._owner_cache.request(number, inode, uid)
        return numbers

    def _note_retransmits(self, sampled: _Sampled) -> None:
        rows = sampled.rows
        more = rows["retransmits"] > rows["reported_retransmits"]
        for index in np.flatnonzero(more).tolist() if more.any() else ():
            sample = decode(sampled.payload(index))
            if sample is not None:
                number = int(sampled.numbers[index])
                self._retransmitting[number] = socket_of(rows[index], sample, self._interfaces)

    def _note_candidates(self, sampled: _Sampled, times: Times) -> None:
        """Decode the sockets that the rules have to decide about."""
        if not self._stalls:
            return
        active = np.flatnonzero(sampled.rows["active"])
        if not len(active) and not self._waiting:
            return
        rows, fields = sampled.rows.take(active), sampled.fields.take(active)
        chosen = active[may_wait(rows, fields, times)].tolist()
        if self._waiting:
            chosen += np.flatnonzero(np.isin(sampled.numbers, list(self._waiting))).tolist()
        for index in chosen:
            number = int(sampled.numbers[index])
            if number not in self._candidates:
                sample = decode(sampled.payload(index))
                if sample is not None:
                    self._candidates[number] = sample

    def _connection(self, number: int, sample: TcpSample) -> Connection:
        row = self._rows.array[number]
        socket = socket_of(row, sample, self._interfaces)
        answers = self._answers.get(number, NEVER)
        connection = connection_of(row, sample, socket, self._peers.of(number), answers)
        running = self._waiting.get(number)
        connection.wait = running.wait if running else None
        return connection

    def _decide(self) -> None:
        """Let the rules decide about the candidates, and about what waits."""
        self._answers = self._peers.answers(list(self._candidates), self._now_ns)
        for number, sample in self._candidates.items():
            connection = self._connection(number, sample)
            if connection.wait is None and self._owner_cache.is_pending(connection.socket.inode):
                continue
            owner = self._owner_cache.owner(number)
            self._detector.update(connection, owner, self._now_ns)
            keep(self._rows.array[number], connection)
            self._note_wait(number, connection)
        for number in self._waiting.keys() - self._candidates.keys():
            generation = int(self._rows.array["generation"][number])
            if generation == self._generation - 1:
                continue  # the socket is closed: a message with its last counters follows
            # No message: a process keeps a socket that is closed already.
            connection = self._waiting[number]
            self._detector.end(connection, self._owner_cache.owner(number), self._last_sample_ns)
            self._note_wait(number, connection)

    def _note_wait(self, number: int, connection: Connection) -> None:
        if connection.wait is None:
            self._waiting.pop(number, None)
        else:
            self._waiting[number] = connection
        if connection.ended:
            self._ended.setdefault(number, []).extend(connection.ended)
            connection.ended = []
            self._rows.array["dirty"][number] = True

    def _take_destroyed(self, messages: Messages) -> None:
        """Update rows from the last messages of their sockets, and let them end."""
        _, first = np.unique(messages.fields["cookie"], return_index=True)
        which = np.sort(first)
        numbers = self._find(messages.fields.take(which))
        unknown = numbers < 0
        known = which[~unknown]
        if len(known):
            self._close_known(messages, known, numbers[~unknown])
        # Maybe closed before the first sample: its bytes do not count.
        if unknown.any() and self._generation > _FIRST_SAMPLES:
            self._close_unknown(messages, which[unknown])

    def _close_unknown(self, messages: Messages, which: Ints) -> None:
        closed, rows = self._add(messages, which, self._now_ns), self._rows.array
        times = self._last_sample_ns, self._now_ns, self._first_sample_ns
        older = closed[is_older(messages.fields.take(which), *times)]
        before = self._rows.take(older)
        set_reported(before)
        self._rows.put(older, before)
        self._vanished.restore(rows, closed)
        self._close(closed)

    def _close_known(self, messages: Messages, which: Ints, numbers: Ints) -> None:
        fields, rows = messages.fields.take(which), self._rows.take(numbers)
        was_open = rows["generation"] + 1 >= self._generation
        before_ns = np.where(was_open, self._last_sample_ns, self._second_last_ns)
        closes_ns = closed_ns(rows, fields, self._now_ns, before_ns)
        sampled = _Sampled(messages, which, numbers, rows, fields)
        self._update(sampled, Times(closes_ns, before_ns, self._stall_ns))
        for index, number in enumerate(numbers.tolist()):
            if number in self._waiting:
                sample = decode(sampled.payload(index))
                assert sample is not None
                self._end(number, self._connection(number, sample), int(closes_ns[index]))
        self._close(numbers)

    def _end(self, number: int, connection: Connection, end_ns: int) -> None:
        self._detector.end(connection, self._owner_cache.owner(number), end_ns)
        self._note_wait(number, connection)

    def _end_all(self, numbers: Ints, end_ns: int) -> None:
        """Let rows end of which no last message has come."""
        for number in numbers.tolist():
            if number in self._waiting:
                self._end(number, self._waiting[number], end_ns)
        self._close(numbers)

    def _close(self, numbers: Ints) -> None:
        """Let rows end; they are reported with the interval, or earlier where they are many."""
        rows = self._rows.array
        rows["dirty"][numbers], rows["active"][numbers], rows["closed"][numbers] = True, False, True
        self._rows.hide(numbers)
        for number in numbers.tolist():
            self._candidates.pop(number, None)
            self._owner_cache.cancel(number)
        self._closed += numbers.tolist()
        if len(self._closed) >= _MOST_CLOSED:
            self._closed_events.add(self._report(np.array(self._closed, np.int64)))
            self._forget_closed()

    def _forget_closed(self) -> None:
        numbers = np.array(self._closed, np.int64)
        self._owners.forget(self._rows.array["inode"][numbers].tolist())
        for number in self._closed:
            self._retransmitting.pop(number, None)
            self._ended.pop(number, None)
        self._rows.remove(numbers)
        self._closed.clear()

    def _drop_vanished(self, now_ns: int) -> None:
        """Close what was in no dump for long: its message was dropped."""
        numbers = self._rows.numbers
        rows = self._rows.array
        away = rows["generation"][numbers] != self._generation
        rows["missing"][numbers] = np.where(away, rows["missing"][numbers] + 1, 0)
        gone = numbers[rows["missing"][numbers] > _MAX_MISSED_INTERVALS]
        if len(gone):
            self._vanished.keep(rows[gone])
            self._end_all(gone, now_ns)

    def _report(self, numbers: Ints) -> Iterator[Event]:
        """Yield what is new of these rows but their bytes, which are added to the totals."""
        rows = self._rows.array
        states, inodes = rows["state"][numbers], rows["inode"][numbers]
        # Others are not accepted yet: reported once they have an inode and an owner.
        numbers = numbers[(inodes != 0) | (states == CLOSE)]
        self._bytes.add(numbers)
        for number in numbers.tolist() if self._retransmitting else ():
            socket = self._retransmitting.pop(number, None)
            more = int(rows["retransmits"][number]) - int(rows["reported_retransmits"][number])
            if socket is not None and more > 0:
                rows["reported_retransmits"][number] += more
                owner = self._owner_cache.owner(number)
                twice = max(
                    int(rows["duplicates"][number]) - int(rows["reported_duplicates"][number]), 0
                )
                rows["reported_duplicates"][number] += twice
                yield SocketError(owner, socket, ErrorKind.RETRANSMIT, more, duplicates=twice)
        for number in numbers.tolist() if self._ended else ():
            yield from self._ended.pop(number, ())
        rows["dirty"][numbers] = False

    def _ongoing(self, pending: set[int]) -> Iterator[Event]:
        generations = self._rows.array["generation"]
        for number, connection in self._waiting.items():
            if number not in pending and generations[number] == self._generation:
                owner = self._owner_cache.owner(number)
                yield from self._detector.ongoing(connection, owner, self._now_ns)
