"""Stalls from the raw events of waits, by the rules of `stalls`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from xctl_probe.ebpf.abi import (
    PROTOCOLS_UDP,
    Evidence,
    Kind,
    RawEvent,
    StallDirection,
    socket_of,
)
from xctl_probe.ebpf.held_stalls import HeldStalls
from xctl_probe.ebpf.open_stalls import Key, OpenStalls, began_ns, got_data, key
from xctl_probe.ebpf.peer_answers import DrainedAnswers
from xctl_probe.ebpf.reported_stall import ReportedStall
from xctl_probe.ebpf.stall_policy import UNASKED, expects_reply_as_client, is_stall
from xctl_probe.events import Cause, Socket, Stall
from xctl_probe.linux.addresses import address_text
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.host_sockets import HostSockets
from xctl_probe.linux.netns import NetnsLookup, Visits
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.linux.socket_lookup import SocketSnapshot
from xctl_probe.stalls import reply_waits
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import PeerInspector
from xctl_probe.stalls.peer_processes import PeerProcesses
from xctl_probe.stalls.policy import is_silent
from xctl_probe.stalls.reply_waits import ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import Histories, PeerHistory, RequestHistory, Usual

_MOST_NAMESPACES = 1_024  # that are remembered
_MOST_SILENT = 16_384  # waits whose keepalives go unanswered
_IDLE_NS = 60_000_000_000

# The process need not be read to know that it waits here.
_IN_RECEIVE = Evidence.BLOCKED | Evidence.POLLING | Evidence.SPINNING


@dataclass(slots=True)
class _Namespace:
    replies: ReplyWaits
    lookup: NetnsLookup
    used_ns: int = 0


class StallTracker:
    """Applies the rules to every wait, and keeps the results of its samples.

    `endpoint` returns the kernel's history with the peer of an event, `cause` the cause that the
    event alone shows; `budget` limits the reads about peers, `barred` has the processes that are
    not read; `reply_ns` is as in `ReplyWaits`.
    """

    def __init__(
        self,
        stall_ns: int,
        ignored_peers: IgnoredPeers,
        endpoint: Callable[[RawEvent], RequestHistory],
        cause: Callable[[RawEvent], Cause | None],
        budget: Budget | None = None,
        barred: Barred | None = None,
        *,
        reply_ns: int = 0,
    ) -> None:
        budget, barred = budget or Budget(), barred or Barred()
        self._stall_ns = stall_ns
        self._reply_ns = reply_ns
        self._ignored_peers = ignored_peers
        self._endpoint = endpoint
        self._cause = cause
        self.answers = DrainedAnswers(stall_ns)
        self.held = HeldStalls(self.answers, stall_ns)
        self._peers = PeerHistory()
        self._owners = OwnersAside(Search(budget, barred=barred), barred)
        self._processes = ProcessesAside(budget, barred=barred)
        self._visits = Visits()
        self._host = HostSockets()
        self._peer_processes = PeerProcesses(self._peer_socket, self._owners, self._processes)
        self._places: dict[int, tuple[int, int]] = {}  # inode -> namespace, and a process there
        self._connections = Histories()  # by cookie: usual latency
        self._namespaces: OrderedDict[int, _Namespace] = OrderedDict()
        self._open = OpenStalls()
        self._ended_ns: dict[Key, int] = {}  # ended since the last sample
        self._silent_ns: dict[Key, int] = {}  # since when keepalives go unanswered

    def close(self) -> None:
        """Close all descriptors.  Safe to call twice."""
        self._visits.close()
        self._host.close()
        self._owners.close()
        self._processes.close()

    def counts(self) -> dict[str, int]:
        """Return how much is remembered, by what it is."""
        return {"open_stalls": len(self._open), "network_namespaces": len(self._namespaces)}

    def observe(
        self,
        records: list[RawEvent],
        late: Collection[int],
        *,
        whole: bool = True,
        is_drain: bool = False,
    ) -> list[ReportedStall]:
        """Return the current waits that are stalls.

        `whole`: the events are all current waits, so that a wait that is not among them is over.
        `late`: the connections (cookies) of all waits that last longer than the stall length of
        replies.
        """
        self._owners.begin()
        self._processes.begin()
        self._visits.begin()
        for namespace in self._namespaces.values():
            namespace.replies.begin_sample()
        self._note_keepalives(records, whole=whole)
        self.answers.begin_sample(late, is_drain=is_drain)
        for record in filter(_may_be_idle, records):
            self.answers.want(record)
        stalls = []
        # A proxy has forwarded the request after its client has sent it, and is decided first.
        for record in sorted(records, key=began_ns, reverse=True):
            if not self._lasts(record):  # an end event follows
                continue
            open_ = self._open.of(record)
            stall = self._ongoing(record, open_)
            if stall is not None:
                stalls.append(stall)
            if open_ is not None:
                self._open.update(record, open_, stall)
        if whole:
            self._open.close_unseen({key(record) for record in records})
        self._ended_ns.clear()
        self._visits.leave()  # no namespace is held until the next sample
        return stalls

    def _note_keepalives(self, records: list[RawEvent], *, whole: bool) -> None:
        """Remember when each wait was first seen with a keepalive that is not answered."""
        silent = {
            key(record): self._silent_ns.get(key(record), record.time_ns)
            for record in records
            if record.kind == Kind.ONGOING and record.occurrences
        }
        if not whole and len(self._silent_ns) < _MOST_SILENT:
            silent = self._silent_ns | silent
        self._silent_ns = silent

    def drain(
        self,
        records: list[RawEvent],
        late: Collection[int],
        now_ns: int,
        *,
        whole: bool = True,
    ) -> list[ReportedStall]:
        """Return the stalls to report at a drain: those that are over, then the ongoing ones.

        `answers` has what this drain brought.
        """
        stalls = self.observe(records, late, whole=whole, is_drain=True)
        over = [*self.held.decided(), *self._open.take_closed()]
        self._open.add(stalls)
        self._forget_idle(now_ns)
        return over + stalls

    def with_peers(self, stalls: list[Stall], places: dict[int, tuple[int, int]]) -> list[Stall]:
        """Return the stalls of one drain with the processes that they wait for.

        `places` has, by inode of a socket, its namespace and a process that lives there.
        """
        if not stalls:
            return stalls
        self._places = places
        self._host.begin()
        try:
            return self._peer_processes.named(stalls)
        finally:
            self._host.leave()

    def _peer_socket(self, of: Socket, tried: set[int]) -> SocketSnapshot | None:
        netns, pid = self._places.get(of.inode, (0, 0))
        return self._host.peer_socket(of, netns, pid, tried)

    def on_end(self, record: RawEvent) -> ReportedStall | None:
        """Return the stall that a finished wait was, None where it was none, or is held.

        A sample and the call itself may both find the reply, at once on two processors.
        """
        if self._is_over(record):
            return None
        self._ended_ns[key(record)] = record.time_ns
        if _may_be_idle(record) and record.span_ns >= self._reply_ns:
            self.held.note_over(record)
        stall, was_reported = self._open.end(record, self._ended(record))
        if stall is not None and stall.by_silence and not was_reported:
            self.held.hold(stall)
            return None
        return stall

    def _lasts(self, record: RawEvent) -> bool:
        """True for an ongoing wait: its end event may precede a sample that contains it."""
        return record.kind == Kind.ONGOING and not self._is_over(record)

    def _is_over(self, record: RawEvent) -> bool:
        """True for a wait that had begun long before the last one of its socket was over."""
        return began_ns(record) < self._ended_ns.get(key(record), 0) - self._stall_ns // 2

    def _ongoing(self, record: RawEvent, open_: ReportedStall | None) -> ReportedStall | None:
        wanted = is_stall(record, self._endpoint(record))
        if wanted and not _awaits(record):
            return ReportedStall(record, self._cause(record))
        stall = None
        if wanted and not record.evidence & Evidence.KEEPALIVE:
            asked = self._reply_wait(record)._replace(
                answered_elsewhere=self.answers.came_since(record),
                answered_lately=self.answers.came_lately(record),
            )
            reply = self._replies(record).observe(asked, record.time_ns)
            stall = reply and self._reported(record, reply)
        if is_silent(record.occurrences) and (wanted or _is_blocked(record)):
            return self._of_silent_host(record, stall, open_)
        return stall

    def _of_silent_host(
        self, record: RawEvent, stall: ReportedStall | None, open_: ReportedStall | None
    ) -> ReportedStall | None:
        """The stall that a host without an answer makes also of an expected wait.

        It goes on as it was reported first.
        """
        since_ns = self._silent_ns.get(key(record), record.time_ns)
        for known in (stall, open_):
            if known is not None and known.cause is Cause.KEEPALIVE:
                since_ns = began_ns(known.record)
        if record.time_ns - since_ns < self._stall_ns:
            return None
        return ReportedStall(record._replace(span_ns=record.time_ns - since_ns), Cause.KEEPALIVE)

    def _ended(self, record: RawEvent) -> ReportedStall | None:
        if not is_stall(record, self._endpoint(record)):
            return None
        if not _awaits(record):
            return ReportedStall(record, self._cause(record))
        asked = self._reply_wait(record)  # its answers elsewhere are known at the next drain
        stall = self._replies(record).close(asked, record.time_ns)
        if got_data(record) and asked.delivered is not False:
            asked.history.record_latency(record.span_ns, self._stall_ns, record.time_ns)
        return stall and self._reported(record, stall)

    def _reply_wait(self, record: RawEvent) -> ReplyWait:
        delivered, lost = None, bool(record.evidence & Evidence.RETRANSMIT)
        if lost:
            delivered = False
        elif record.evidence & UNASKED:
            delivered = True  # it has no request outstanding
        remote = address_text(record.family, record.remote_address)
        comm = record.comm.split(b"\0", 1)[0]
        symmetric = bool(record.evidence & Evidence.SYMMETRIC)
        announced = bool(record.evidence & Evidence.ANNOUNCED)
        # Unconnected sockets have no common peer, nor has the side that accepted the connection.
        peer = (
            self._peers.of(remote, record.remote_port, record.netns, uid=record.uid, comm=comm)
            if record.remote_port and record.evidence & Evidence.OPENED
            else RequestHistory()
        )
        client = not symmetric or expects_reply_as_client(record, self._endpoint(record))
        here = self._connections.of(record.uid, record.cookie)
        here.answered = record.answered
        if record.remote_port and record.evidence & Evidence.OPENED:
            peer.answered = self._endpoint(record).answered
        since_ns = record.time_ns - record.span_ns
        blocked = bool(record.evidence & _IN_RECEIVE)
        return ReplyWait(
            socket_of(record, None), since_ns, record.owner, Usual(here, peer), delivered, blocked,
            lost, symmetric, announced, client, bool(record.evidence & Evidence.FLOW),
        )  # fmt: skip

    def _replies(self, record: RawEvent) -> ReplyWaits:
        found = self._namespaces.get(record.netns)
        if found is None:
            lookup = NetnsLookup(self._visits, record.netns, record.pid)
            inspector = PeerInspector(lookup, self._owners, self._processes, shared=True)
            replies = ReplyWaits(self._stall_ns, self._ignored_peers, inspector, self._reply_ns)
            found = _Namespace(replies, lookup)
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
        span_ns = record.time_ns - stall.since_ns
        return ReportedStall(
            record._replace(span_ns=span_ns), why, stall.probable, stall.by_silence
        )


def _is_blocked(record: RawEvent) -> bool:
    """A thread of the side that opened the connection sits in a receive."""
    blocked = Evidence.OPENED | Evidence.BLOCKED
    return record.direction == StallDirection.RECEIVE and record.evidence & blocked == blocked


def _may_be_idle(record: RawEvent) -> bool:
    """True for a reply wait on a stream in which no thread was seen in a receive."""
    streams = record.protocol not in PROTOCOLS_UDP
    return streams and _awaits(record) and not record.evidence & _IN_RECEIVE


def _awaits(record: RawEvent) -> bool:
    """True for a reply wait, which may be an expected one; a hole in the sequence is not."""
    return record.direction == StallDirection.RECEIVE and not record.evidence & Evidence.HOLE
