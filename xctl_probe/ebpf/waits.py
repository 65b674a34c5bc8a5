"""The kernel's candidates for stalls: those that are told, from when on, and why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from xctl_probe.dialogue import Dialogue, Endpoints
from xctl_probe.ebpf.records import Evidence, Kind, Record, StallDirection, address, socket_of
from xctl_probe.ebpf.stalls import cause, is_stall
from xctl_probe.facts import Cause
from xctl_probe.owners import Owners
from xctl_probe.patience import Patient
from xctl_probe.peers.agreement import OtherEnd
from xctl_probe.peers.ends import Ends
from xctl_probe.peers.namespaces import ends_in
from xctl_probe.peers.replies import Asked, Replies

_MOST_NAMESPACES = 64  # that one looks into at a time


class Told(NamedTuple):
    """A stall to tell of: the record with its length right, and the cause."""

    record: Record
    cause: Cause


class _Namespace(NamedTuple):
    replies: Replies
    ends: Ends | None


class Waits:
    """Decides about every candidate; remembers what the looks during a wait have found.

    `endpoint` gives the dialogue with a record's peer as the kernel noted it.
    """

    def __init__(
        self, stall_ns: int, patient: Patient, endpoint: Callable[[Record], Dialogue]
    ) -> None:
        self._stall_ns = stall_ns
        self._patient = patient
        self._endpoint = endpoint
        self._peers = Endpoints()
        self._owners = Owners()
        self._namespaces: OrderedDict[int, _Namespace] = OrderedDict()
        self._open: dict[int, Told] = {}  # told as ongoing by the last drain, by cookie

    def close(self) -> None:
        """Give all descriptors back.  Safe to call twice."""
        while self._namespaces:
            self._leave(self._namespaces.popitem()[1])

    def look(self, records: list[Record]) -> list[Told]:
        """What of all that waits at this moment is a stall."""
        self._owners.begin()
        for namespace in self._namespaces.values():
            namespace.replies.begin()
        found = (self._ongoing(record) for record in records if record.kind == Kind.ONGOING)
        return [told for told in found if told is not None]

    def tell(self, records: list[Record]) -> list[Told]:
        """The same for a drain, which tells it; also what was told and is no stall any more."""
        stalls = self.look(records)
        before, self._open = self._open, {told.record.cookie: told for told in stalls}
        waiting = {record.cookie: record for record in records if record.kind == Kind.ONGOING}
        for cookie in before.keys() - self._open.keys():
            if cookie in waiting:  # else it ends with a record of its own
                stalls.append(_over(before[cookie], waiting[cookie].time_ns))
        return stalls

    def ended(self, record: Record) -> Told | None:
        """The stall that a wait was; None where it was none."""
        told = self._ended(record)
        open_ = self._open.pop(record.cookie, None)
        if told is None and open_ is not None:
            return _over(open_, record.time_ns)
        return told

    def _ongoing(self, record: Record) -> Told | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return Told(record, cause(record))
        told = self._replies(record).look(self._asked(record), record.time_ns)
        if told is None:
            return None
        return Told(_from(record, told.since_ns), told.cause or cause(record))

    def _ended(self, record: Record) -> Told | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return Told(record, cause(record))
        asked = self._asked(record)
        told = self._replies(record).end(asked, record.time_ns)
        if record.evidence & Evidence.ANSWER and asked.delivered is not False:
            asked.usual.came_after(record.span_ns, self._stall_ns)
        if told is None:
            return None
        return Told(_from(record, told.since_ns), told.cause or cause(record))

    def _asked(self, record: Record) -> Asked:
        delivered = None
        if record.evidence & Evidence.RETRANSMIT:
            delivered = False
        elif record.evidence & Evidence.FLOW:
            delivered = True  # it has asked for nothing
        remote = address(record.family, record.remote_address)
        usual = self._peers.of(remote, record.remote_port, record.netns)
        since_ns = record.time_ns - record.span_ns
        return Asked(socket_of(record, None), since_ns, record.owner, usual, delivered)

    def _replies(self, record: Record) -> Replies:
        found = self._namespaces.get(record.netns)
        if found is None:
            ends = ends_in(record.netns, record.pid)
            other_end = OtherEnd(ends, self._owners) if ends else None
            found = _Namespace(Replies(self._stall_ns, self._patient, other_end), ends)
            self._namespaces[record.netns] = found
            if len(self._namespaces) > _MOST_NAMESPACES:
                self._leave(self._namespaces.popitem(last=False)[1])
        self._namespaces.move_to_end(record.netns)
        return found.replies

    @staticmethod
    def _leave(namespace: _Namespace) -> None:
        if namespace.ends is not None:
            namespace.ends.close()


def _awaits(record: Record) -> bool:
    """True where the peer may owe nothing: for a hole in the sequence it does."""
    return record.direction == StallDirection.RECEIVE and not record.evidence & Evidence.HOLE


def _from(record: Record, since_ns: int) -> Record:
    return record._replace(span_ns=record.time_ns - since_ns)


def _over(told: Told, now_ns: int) -> Told:
    since_ns = told.record.time_ns - told.record.span_ns
    record = told.record._replace(kind=Kind.STALL, time_ns=now_ns, span_ns=now_ns - since_ns)
    return Told(record, told.cause)
