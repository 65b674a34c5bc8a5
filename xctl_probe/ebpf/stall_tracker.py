"""Turns the kernel's records of waits into stalls, by the rules of `stalls`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from xctl_probe.ebpf.abi import (
    PROTOCOLS_UDP,
    Evidence,
    Kind,
    RawEvent,
    StallDirection,
    address,
    socket_of,
)
from xctl_probe.ebpf.stall_policy import is_stall
from xctl_probe.events import Cause
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.netns import NetnsLookup, Visits
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.stalls import reply_waits
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import PeerInspector
from xctl_probe.stalls.reply_waits import ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import Dialogues, PeerHistory, RequestHistory, Usual

_MOST_NAMESPACES = 1_024  # that are remembered
_IDLE_NS = 60_000_000_000

_Key = tuple[int, int]  # inode and direction


class ReportedStall(NamedTuple):
    """A stall to tell of: the record with its length right, and the cause."""

    record: RawEvent
    cause: Cause | None


@dataclass(slots=True)
class _Namespace:
    replies: ReplyWaits
    lookup: NetnsLookup
    used_ns: int = 0


class StallTracker:
    """Applies the rules to every wait; remembers what the samples during it have found.

    `endpoint` gives the dialogue with a record's peer as the kernel noted it, `cause` the cause
    that the record itself shows; `budget` is what reading about the peers may cost.
    """

    def __init__(
        self,
        stall_ns: int,
        ignored_peers: IgnoredPeers,
        endpoint: Callable[[RawEvent], RequestHistory],
        cause: Callable[[RawEvent], Cause | None],
        budget: Budget | None = None,
    ) -> None:
        budget = budget or Budget()
        self._stall_ns = stall_ns
        self._ignored_peers = ignored_peers
        self._endpoint = endpoint
        self._cause = cause
        self._peers = PeerHistory()
        self._owners = Search(budget)
        self._processes = ProcessesAside(budget)
        self._visits = Visits()
        self._connections = Dialogues()  # by cookie: how late answers came on each
        self._namespaces: OrderedDict[int, _Namespace] = OrderedDict()
        self._open: dict[_Key, ReportedStall] = {}  # told as ongoing by the last drain
        self._closed: list[
            ReportedStall
        ] = []  # of those, what a look since found to be none any more
        self._ended_ns: dict[_Key, int] = {}  # what has ended since the last look

    def close(self) -> None:
        """Give all descriptors back.  Safe to call twice."""
        self._visits.close()
        self._processes.close()

    def observe(self, records: list[RawEvent], *, whole: bool = True) -> list[ReportedStall]:
        """What of all that waits at this moment is a stall.

        `whole`: the records are all that waits, so what is not among them waits no more.
        """
        self._owners.begin()
        self._processes.begin()
        self._visits.begin()
        for namespace in self._namespaces.values():
            namespace.replies.begin_sample()
        stalls = []
        for record in records:
            if not self._lasts(record):  # it ends with a record of its own
                continue
            stall = self._ongoing(record)
            if stall is not None:
                stalls.append(stall)
                if record.protocol in PROTOCOLS_UDP and _key(record) in self._open:
                    self._open[_key(record)] = stall
            elif (open_ := self._open.pop(_key(record), None)) is not None:
                self._closed.append(_closed(open_, record.time_ns))
        if whole:
            self._close_datagrams({_key(record) for record in records})
        self._ended_ns.clear()
        self._visits.leave()  # nobody's namespace is held until the next look
        return stalls

    def _close_datagrams(self, waiting: set[_Key]) -> None:
        """What was told of a UDP socket that nobody waits on any more: its end tells nothing."""
        for key, stall in list(self._open.items()):
            if stall.record.protocol in PROTOCOLS_UDP and key not in waiting:
                del self._open[key]
                self._closed.append(_closed(stall, stall.record.time_ns))

    def drain(
        self, records: list[RawEvent], now_ns: int, *, whole: bool = True
    ) -> list[ReportedStall]:
        """The same for a drain, which tells it; first what was told and is no stall any more."""
        stalls = self.observe(records, whole=whole)
        over, self._closed = self._closed, []
        self._open = {_key(stall.record): stall for stall in stalls}
        self._forget_idle(now_ns)
        return over + stalls

    def on_end(self, record: RawEvent) -> ReportedStall | None:
        """The stall that a wait was; None where it was none."""
        self._ended_ns[_key(record)] = record.time_ns
        stall = self._ended(record)
        open_ = self._open.pop(_key(record), None)
        if record.evidence & Evidence.SUPERSEDED and open_ is None:
            return None  # who sends on had not waited, unless that was told
        if stall is None and open_ is not None:
            return _closed(open_, record.time_ns)
        return stall

    def _lasts(self, record: RawEvent) -> bool:
        """True for a wait that goes on: news of its end may come after a look that saw it."""
        if record.kind != Kind.ONGOING:
            return False
        ended_ns = self._ended_ns.get(_key(record), 0)
        return record.time_ns - record.span_ns >= ended_ns - self._stall_ns // 2

    def _ongoing(self, record: RawEvent) -> ReportedStall | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return ReportedStall(record, self._cause(record))
        stall = self._replies(record).observe(self._reply_wait(record), record.time_ns)
        return stall and self._reported(record, stall)

    def _ended(self, record: RawEvent) -> ReportedStall | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return ReportedStall(record, self._cause(record))
        asked = self._reply_wait(record)
        stall = self._replies(record).close(asked, record.time_ns)
        if record.evidence & Evidence.DATA and asked.delivered is not False:
            asked.history.record_latency(record.span_ns, self._stall_ns)
        return stall and self._reported(record, stall)

    def _reply_wait(self, record: RawEvent) -> ReplyWait:
        delivered = None
        if record.evidence & Evidence.RETRANSMIT:
            delivered = False
        elif record.evidence & Evidence.FLOW:
            delivered = True  # it has asked for nothing
        remote = address(record.family, record.remote_address)
        comm = record.comm.split(b"\0", 1)[0]
        # Sockets that are not connected have no peer in common.
        peer = (
            self._peers.of(remote, record.remote_port, record.netns, uid=record.uid, comm=comm)
            if record.remote_port
            else RequestHistory()
        )
        here = self._connections.of(record.uid, record.cookie)
        here.answered = record.answered
        since_ns = record.time_ns - record.span_ns
        return ReplyWait(
            socket_of(record, None), since_ns, record.owner, Usual(here, peer), delivered
        )

    def _replies(self, record: RawEvent) -> ReplyWaits:
        found = self._namespaces.get(record.netns)
        if found is None:
            lookup = NetnsLookup(self._visits, record.netns, record.pid)
            inspector = PeerInspector(lookup, self._owners, self._processes, shared=True)
            found = _Namespace(ReplyWaits(self._stall_ns, self._ignored_peers, inspector), lookup)
            self._namespaces[record.netns] = found
            if len(self._namespaces) > _MOST_NAMESPACES:
                self._namespaces.popitem(last=False)
        self._namespaces.move_to_end(record.netns)
        found.lookup.pid = record.pid  # one that has left already leads nowhere
        found.used_ns = record.time_ns
        return found.replies

    def _forget_idle(self, now_ns: int) -> None:
        for netns, namespace in list(self._namespaces.items()):
            if now_ns - namespace.used_ns > _IDLE_NS:
                del self._namespaces[netns]

    def _reported(self, record: RawEvent, stall: reply_waits.ReplyStall) -> ReportedStall:
        why: Cause | None = stall.cause or self._cause(record)
        if stall.in_flight and why is Cause.NO_REPLY:
            why = None  # not known to be lost, and not delivered either
        return ReportedStall(record._replace(span_ns=record.time_ns - stall.since_ns), why)


def _key(record: RawEvent) -> _Key:
    return record.inode, record.direction


def _awaits(record: RawEvent) -> bool:
    """True where the peer may owe nothing: for a hole in the sequence it does."""
    return record.direction == StallDirection.RECEIVE and not record.evidence & Evidence.HOLE


def _closed(stall: ReportedStall, now_ns: int) -> ReportedStall:
    since_ns = stall.record.time_ns - stall.record.span_ns
    record = stall.record._replace(kind=Kind.STALL, time_ns=now_ns, span_ns=now_ns - since_ns)
    return ReportedStall(record, stall.cause)
