"""The kernel's candidates for stalls: those that are told, from when on, and why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from xctl_probe.dialogue import Dialogue, Dialogues, Endpoints, Usual
from xctl_probe.ebpf.records import Evidence, Kind, Record, StallDirection, address, socket_of
from xctl_probe.ebpf.stalls import is_stall
from xctl_probe.facts import Cause
from xctl_probe.owners import Owners
from xctl_probe.patience import Patient
from xctl_probe.peers import replies
from xctl_probe.peers.agreement import OtherEnd
from xctl_probe.peers.ends import Ends
from xctl_probe.peers.namespaces import ends_in
from xctl_probe.peers.replies import Asked, Replies

_MOST_NAMESPACES = 64  # that one looks into at a time
_IDLE_NS = 60_000_000_000

_Key = tuple[int, int]  # inode and direction


class Told(NamedTuple):
    """A stall to tell of: the record with its length right, and the cause."""

    record: Record
    cause: Cause | None


@dataclass(slots=True)
class _Namespace:
    replies: Replies
    ends: Ends | None
    pid: int  # who led into it, or could not
    used_ns: int = 0


class Waits:
    """Decides about every candidate; remembers what the looks during a wait have found.

    `endpoint` gives the dialogue with a record's peer as the kernel noted it, `cause` the cause
    that the record itself shows.
    """

    def __init__(
        self,
        stall_ns: int,
        patient: Patient,
        endpoint: Callable[[Record], Dialogue],
        cause: Callable[[Record], Cause],
    ) -> None:
        self._stall_ns = stall_ns
        self._patient = patient
        self._endpoint = endpoint
        self._cause = cause
        self._peers = Endpoints()
        self._connections = Dialogues()  # by cookie: how late answers came on each
        self._owners = Owners()
        self._namespaces: OrderedDict[int, _Namespace] = OrderedDict()
        self._open: dict[_Key, Told] = {}  # told as ongoing by the last drain
        self._over: list[Told] = []  # of those, what a look since found to be none any more
        self._ended_ns: dict[_Key, int] = {}  # what has ended since the last look

    def close(self) -> None:
        """Give all descriptors back.  Safe to call twice."""
        while self._namespaces:
            self._leave(self._namespaces.popitem()[1])

    def look(self, records: list[Record]) -> list[Told]:
        """What of all that waits at this moment is a stall."""
        self._owners.begin()
        for namespace in self._namespaces.values():
            namespace.replies.begin()
        stalls = []
        for record in records:
            if not self._lasts(record):  # it ends with a record of its own
                continue
            told = self._ongoing(record)
            if told is not None:
                stalls.append(told)
            elif (open_ := self._open.pop(_key(record), None)) is not None:
                self._over.append(_over(open_, record.time_ns))
        self._ended_ns.clear()
        return stalls

    def tell(self, records: list[Record], now_ns: int) -> list[Told]:
        """The same for a drain, which tells it; first what was told and is no stall any more."""
        stalls = self.look(records)
        over, self._over = self._over, []
        self._open = {_key(told.record): told for told in stalls}
        self._leave_idle(now_ns)
        return over + stalls

    def ended(self, record: Record) -> Told | None:
        """The stall that a wait was; None where it was none."""
        self._ended_ns[_key(record)] = record.time_ns
        told = self._ended(record)
        open_ = self._open.pop(_key(record), None)
        if record.evidence & Evidence.SENT_ON and open_ is None:
            return None  # who sends on had not waited, unless that was told
        if told is None and open_ is not None:
            return _over(open_, record.time_ns)
        return told

    def _lasts(self, record: Record) -> bool:
        """True for a wait that goes on: news of its end may come after a look that saw it."""
        if record.kind != Kind.ONGOING:
            return False
        ended_ns = self._ended_ns.get(_key(record), 0)
        return record.time_ns - record.span_ns >= ended_ns - self._stall_ns // 2

    def _ongoing(self, record: Record) -> Told | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return Told(record, self._cause(record))
        told = self._replies(record).look(self._asked(record), record.time_ns)
        return told and self._told(record, told)

    def _ended(self, record: Record) -> Told | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return Told(record, self._cause(record))
        asked = self._asked(record)
        told = self._replies(record).end(asked, record.time_ns)
        if record.evidence & Evidence.ANSWER and asked.delivered is not False:
            asked.usual.came_after(record.span_ns, self._stall_ns)
        return told and self._told(record, told)

    def _asked(self, record: Record) -> Asked:
        delivered = None
        if record.evidence & Evidence.RETRANSMIT:
            delivered = False
        elif record.evidence & Evidence.FLOW:
            delivered = True  # it has asked for nothing
        remote = address(record.family, record.remote_address)
        comm = record.comm.split(b"\0", 1)[0]
        peer = self._peers.of(remote, record.remote_port, record.netns, uid=record.uid, comm=comm)
        here = self._connections.of(record.uid, record.cookie)
        here.answered = record.answered
        since_ns = record.time_ns - record.span_ns
        return Asked(socket_of(record, None), since_ns, record.owner, Usual(here, peer), delivered)

    def _replies(self, record: Record) -> Replies:
        found = self._namespaces.get(record.netns)
        # A process that has left already, or is not seen, leads nowhere: another one may.
        if found is None or (found.ends is None and found.pid != record.pid):
            ends = ends_in(record.netns, record.pid)
            other_end = OtherEnd(ends, self._owners) if ends else None
            rules = Replies(self._stall_ns, self._patient, other_end)
            found = _Namespace(rules, ends, record.pid)
            self._namespaces[record.netns] = found
            if len(self._namespaces) > _MOST_NAMESPACES:
                self._leave(self._namespaces.popitem(last=False)[1])
        self._namespaces.move_to_end(record.netns)
        found.used_ns = record.time_ns
        return found.replies

    def _leave_idle(self, now_ns: int) -> None:
        """A namespace lives for as long as anybody has a socket in it."""
        for netns, namespace in list(self._namespaces.items()):
            if now_ns - namespace.used_ns > _IDLE_NS:
                self._leave(self._namespaces.pop(netns))

    @staticmethod
    def _leave(namespace: _Namespace) -> None:
        if namespace.ends is not None:
            namespace.ends.close()

    def _told(self, record: Record, told: replies.Told) -> Told:
        why: Cause | None = told.cause or self._cause(record)
        if told.on_its_way and why is Cause.NO_REPLY:
            why = None  # not known to be lost, and not delivered either
        return Told(record._replace(span_ns=record.time_ns - told.since_ns), why)


def _key(record: Record) -> _Key:
    return record.inode, record.direction


def _awaits(record: Record) -> bool:
    """True where the peer may owe nothing: for a hole in the sequence it does."""
    return record.direction == StallDirection.RECEIVE and not record.evidence & Evidence.HOLE


def _over(told: Told, now_ns: int) -> Told:
    since_ns = told.record.time_ns - told.record.span_ns
    record = told.record._replace(kind=Kind.STALL, time_ns=now_ns, span_ns=now_ns - since_ns)
    return Told(record, told.cause)
