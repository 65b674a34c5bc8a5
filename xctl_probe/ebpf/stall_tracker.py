"""Stalls from the raw events of waits, by the rules of `stalls`."""

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
    socket_of,
)
from xctl_probe.ebpf.stall_policy import is_stall
from xctl_probe.events import Cause
from xctl_probe.linux.addresses import address_text
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.netns import NetnsLookup, Visits
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.stalls import reply_waits
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import PeerInspector
from xctl_probe.stalls.reply_waits import ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import Histories, PeerHistory, RequestHistory, Usual

_MOST_NAMESPACES = 1_024  # kept at a time
_IDLE_NS = 60_000_000_000

_Key = tuple[int, int]  # inode and direction


class ReportedStall(NamedTuple):
    """A stall to report: its raw event with the right length, and the cause."""

    record: RawEvent
    cause: Cause | None


@dataclass(slots=True)
class _Namespace:
    replies: ReplyWaits
    lookup: NetnsLookup
    used_ns: int = 0


class StallTracker:
    """Applies the rules to every wait, and keeps the results of its samples.

    `endpoint` returns the kernel's history with the peer of an event, `cause` the cause that the
    event alone shows; `budget` limits the reads about peers.
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
        self._connections = Histories()  # by cookie: usual latency
        self._namespaces: OrderedDict[int, _Namespace] = OrderedDict()
        self._open: dict[_Key, ReportedStall] = {}  # reported as ongoing by the last drain
        self._closed: list[ReportedStall] = []  # of those, the ones that a later sample has closed
        self._ended_ns: dict[_Key, int] = {}  # ended since the last sample

    def close(self) -> None:
        """Close all descriptors.  Safe to call twice."""
        self._visits.close()
        self._processes.close()

    def observe(self, records: list[RawEvent], *, whole: bool = True) -> list[ReportedStall]:
        """Return the current waits that are stalls.

        `whole`: the events are all current waits, so that a wait that is not among them is over.
        """
        self._owners.begin()
        self._processes.begin()
        self._visits.begin()
        for namespace in self._namespaces.values():
            namespace.replies.begin_sample()
        stalls = []
        for record in records:
            if not self._lasts(record):  # an end event follows
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
        self._visits.leave()  # no namespace is held until the next sample
        return stalls

    def _close_datagrams(self, waiting: set[_Key]) -> None:
        """Close reported stalls of UDP sockets without a waiting thread: they have no end event."""
        for key, stall in list(self._open.items()):
            if stall.record.protocol in PROTOCOLS_UDP and key not in waiting:
                del self._open[key]
                self._closed.append(_closed(stall, stall.record.time_ns))

    def drain(
        self, records: list[RawEvent], now_ns: int, *, whole: bool = True
    ) -> list[ReportedStall]:
        """Return the stalls to report: those closed since the last drain, then ongoing ones."""
        stalls = self.observe(records, whole=whole)
        over, self._closed = self._closed, []
        self._open = {_key(stall.record): stall for stall in stalls}
        self._forget_idle(now_ns)
        return over + stalls

    def on_end(self, record: RawEvent) -> ReportedStall | None:
        """Return the stall that a finished wait was, None where it was none."""
        self._ended_ns[_key(record)] = record.time_ns
        stall = self._ended(record)
        open_ = self._open.pop(_key(record), None)
        if record.evidence & Evidence.SUPERSEDED and open_ is None:
            return None  # a process that continued to send did not wait, unless reported
        if stall is None and open_ is not None:
            return _closed(open_, record.time_ns)
        return stall

    def _lasts(self, record: RawEvent) -> bool:
        """True for an ongoing wait: its end event may precede a sample that contains it."""
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
            delivered = True  # it has no request outstanding
        remote = address_text(record.family, record.remote_address)
        comm = record.comm.split(b"\0", 1)[0]
        # Unconnected sockets have no common peer.
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
        found.lookup.pid = record.pid  # a process that has left does not lead there
        found.used_ns = record.time_ns
        return found.replies

    def _forget_idle(self, now_ns: int) -> None:
        for netns, namespace in list(self._namespaces.items()):
            if now_ns - namespace.used_ns > _IDLE_NS:
                del self._namespaces[netns]

    def _reported(self, record: RawEvent, stall: reply_waits.ReplyStall) -> ReportedStall:
        why: Cause | None = stall.cause or self._cause(record)
        if stall.in_flight and why is Cause.NO_REPLY:
            why = None  # neither known to be lost nor delivered
        return ReportedStall(record._replace(span_ns=record.time_ns - stall.since_ns), why)


def _key(record: RawEvent) -> _Key:
    return record.inode, record.direction


def _awaits(record: RawEvent) -> bool:
    """True for a reply wait, which may be an expected one; a hole in the sequence is not."""
    return record.direction == StallDirection.RECEIVE and not record.evidence & Evidence.HOLE


def _closed(stall: ReportedStall, now_ns: int) -> ReportedStall:
    since_ns = stall.record.time_ns - stall.record.span_ns
    record = stall.record._replace(kind=Kind.STALL, time_ns=now_ns, span_ns=now_ns - since_ns)
    return ReportedStall(record, stall.cause)
