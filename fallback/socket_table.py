"""Table of all TCP connections, from sock_diag: samples in, events out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xctl_probe.events import DroppedEvents, ErrorKind, Event, Process, Socket, SocketError
from xctl_probe.fallback import idle_update
from xctl_probe.fallback.closed_events import ClosedEvents
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.idle_connection import (
    IdleConnection,
    inode_and_uid_of,
    pack,
    socket_of,
    unpack,
)
from xctl_probe.fallback.owner_cache import CachedOwner, OwnerCache, Owners
from xctl_probe.fallback.sock_diag import (
    CLOSE,
    ESTABLISHED,
    LISTEN,
    QUEUES_AND_INODE,
    SYN_SENT,
    TIMER_RETRIES,
    SockDiag,
    TcpSample,
    change_detector_of,
    cookie_of,
    decode,
)
from xctl_probe.fallback.stall_detector import StallDetector, stall_of
from xctl_probe.fallback.thread_evidence import Processes, ProcessEvidence
from xctl_probe.linux.addresses import InterfaceByAddress
from xctl_probe.stalls.reply_waits import ReplyWaits
from xctl_probe.stalls.request_history import PeerHistory, RequestHistory
from xctl_probe.traffic_totals import TrafficTotals

# A kernel worker sends the messages of closed sockets, so they arrive late.
_FIRST_SAMPLES = 2
_MOST_CLOSED = 4_096  # between two intervals
_MAX_MISSED_INTERVALS = 8  # missing intervals after which a socket counts as closed


class SocketTable:
    """TCP connections of this network namespace.

    `sample` may run at any time, `collect` runs once an interval.  Both raise OSError where the
    kernel stops answering.
    """

    def __init__(
        self,
        diag: SockDiag,
        owners: Owners,
        interfaces: InterfaceByAddress,
        stall_ns: int,
        processes: Processes,
        replies: ReplyWaits | None = None,
    ) -> None:
        self._diag = diag
        self._owners = owners
        self._interfaces = interfaces
        self._stall_ns = stall_ns
        self._evidence = ProcessEvidence(owners, processes)
        self._replies = replies or ReplyWaits(stall_ns)
        self._detector = StallDetector(stall_ns, self._evidence, self._replies)
        self._peers = PeerHistory()
        self._connections: dict[bytes, Connection] = {}
        self._idle: dict[bytes, IdleConnection] = {}  # by cookie
        self._idle_changed: set[IdleConnection] = set()  # idle ones with something to report
        self._missing: dict[bytes, int] = {}  # intervals without the socket in a dump
        self._watched: set[Connection] = set()  # stall candidates
        self._changed: set[Connection] = set()  # active ones with something to report
        self._totals = TrafficTotals()  # the bytes of this interval
        self._owner_cache = OwnerCache(owners)
        self._closed: list[Connection] = []
        self._closed_events = ClosedEvents()  # overflow of `_closed`
        self._vanished: list[int] = []  # inodes of idle ones that closed without a message
        # This sample, the one before, and the one before that.
        self._now_ns = self._last_sample_ns = self._second_last_ns = 0
        self._generation = 0
        self._overruns = 0
        self._routing = 0  # how often the host's routing has changed

    def counts(self) -> dict[str, int]:
        """Return how many sockets are known, and how many of these are idle."""
        idle = len(self._idle)
        return {"sockets": idle + len(self._connections), "idle_sockets": idle}

    def sample(self, now_ns: int) -> None:
        """Sample every socket once; `now_ns` is the monotonic time."""
        self._generation += 1
        self._evidence.begin()
        self._replies.begin_sample()
        self._second_last_ns, self._last_sample_ns = self._last_sample_ns, self._now_ns
        self._now_ns = now_ns
        generation, idle, last_sample_ns = self._generation, self._idle, self._last_sample_ns
        stall_ns = self._stall_ns
        for message in self._diag.sockets():
            cookie = cookie_of(message)
            known = idle.get(cookie)
            if known is not None:
                # The common case: most of the time of a sample is spent here.
                known.generation = generation
                watch = known.detector
                fingerprint = message[watch.counters] + message[QUEUES_AND_INODE]
                if (
                    fingerprint == known.fingerprint
                    and message[TIMER_RETRIES] == known.timer_retries
                    and len(message) == watch.length
                ):
                    continue
                if idle_update.update(known, message, now_ns, last_sample_ns, stall_ns):
                    known.fingerprint = fingerprint
                    known.timer_retries = message[TIMER_RETRIES]
                    self._idle_changed.add(known)
                    if known.routing != self._routing:
                        self._reroute(known, message)
                    continue
            self._sample_one(cookie, message, now_ns)
        self._take_destroyed(now_ns)
        self._owner_cache.resolve()
        for connection in list(self._watched):
            if connection.generation == self._generation - 1:
                continue  # the socket is closed: a message with its last counters follows
            if connection.generation != self._generation:
                # No message: a process keeps a socket that is closed already.
                self._detector.end(connection, self._owner(connection), self._last_sample_ns)
                self._changed.add(connection)
            elif not connection.idle:
                if connection.wait is None and self._is_pending(connection):
                    continue
                self._detector.update(connection, self._owner(connection), now_ns)
                continue
            self._watched.discard(connection)

    def collect(self, now_ns: int, interval_ns: int) -> Iterator[Event]:  # noqa: ARG002
        """Yield the events since the last call, after a final sample."""
        self._owners.begin()
        self._follow_routes()
        self.sample(now_ns)
        self._drop_vanished(now_ns)
        self._owner_cache.revalidate(self._in_use())
        pending, idle_pending = self._without_owner()
        idle_changed = self._idle_changed - idle_pending
        idle_update.interval_ended(idle_changed, self._owners, self._totals)
        self._idle_changed = idle_pending
        touched = (self._changed | self._watched) - pending
        for connection in touched:
            owner = self._owner(connection)
            yield from _changed(connection, owner, self._totals)
            yield from connection.ended
            connection.ended.clear()
            if connection.wait and connection.generation == self._generation:
                yield stall_of(connection, connection.wait, owner, now_ns, ongoing=True)
        yield from self._closed_events.take()
        yield from self._totals.take()
        self._changed = pending
        for connection in touched:
            self._make_idle(connection)
        self._owners.forget([c.socket.inode for c in self._closed])
        self._owners.forget(self._vanished)
        self._vanished.clear()
        self._closed.clear()
        if self._diag.overruns > self._overruns:
            yield DroppedEvents("sock_diag", self._diag.overruns - self._overruns)
            self._overruns = self._diag.overruns

    def _sample_one(self, cookie: bytes, message: bytes, now_ns: int) -> None:
        connection = self._connections.get(cookie)
        if connection is not None:
            connection.generation = self._generation
            fingerprint = connection.detector.fingerprint(message)
            if (
                fingerprint is not None
                and fingerprint == connection.fingerprint
                and message[TIMER_RETRIES] == connection.sample.timer_retries
                and connection.idle
            ):
                return
        sample = decode(message)
        if sample is None:
            return
        if connection is None:
            connection = self._make_active(sample)
        if connection is None:
            connection = self._add(sample, now_ns)
            connection.detector = change_detector_of(message)
        else:
            self._update(connection, sample, now_ns)
        connection.fingerprint = connection.detector.fingerprint(message)
        if connection not in self._changed:
            self._make_idle(connection)

    def _make_active(self, sample: TcpSample) -> Connection | None:
        """Return the unpacked connection of the sample if it was idle."""
        idle = self._idle.pop(sample.cookie, None)
        if idle is None:
            return None
        self._idle_changed.discard(idle)
        connection = unpack(idle, sample, self._interfaces)
        self._connections[sample.cookie] = connection
        return connection

    def _make_idle(self, connection: Connection) -> None:
        """Pack the connection if it is idle and has nothing to report."""
        cookie, fingerprint = connection.sample.cookie, connection.fingerprint
        alive = self._connections.get(cookie) is connection
        if alive and fingerprint is not None and connection.idle:
            self._watched.discard(connection)
            idle = pack(connection, fingerprint)
            if idle is not None:
                idle.routing = self._routing
                del self._connections[cookie]
                self._idle[cookie] = idle

    def _add(self, sample: TcpSample, now_ns: int) -> Connection:
        # Requests go to the peers of opened connections only.
        opened = sample.opened
        peer = RequestHistory()
        if opened:
            peer = self._peers.of(sample.remote_address, sample.remote_port, uid=sample.uid)
        connection = Connection(
            self._socket(sample), sample, change_detector_of(b""), None, opened, peer, now_ns,
            sample.counters,
            generation=self._generation,
        )  # fmt: skip
        self._connections[sample.cookie] = connection
        if self._generation == 1:
            connection.sent, connection.received = sample.sent_payload, sample.received_payload
            connection.retransmits = sample.info.total_retrans
            connection.duplicates = sample.info.dsack_dups
        if sample.state != LISTEN:
            connection.init_from_first_sample(now_ns, self._last_sample_ns)
        if self._generation > 1 or not connection.idle:
            self._note(connection)
        self._owner_cache.request(connection.socket.inode, connection.socket.uid)
        return connection

    def _update(self, connection: Connection, sample: TcpSample, now_ns: int) -> None:
        before = connection.sample
        if before.state == SYN_SENT and sample.state == ESTABLISHED:
            connection.opened = True
        if sample.inode and sample.inode != connection.socket.inode:
            # It was in the queue of a listener; now it is accepted, and has an owner.
            connection.socket = self._socket(sample)
            self._owner_cache.request(connection.socket.inode, connection.socket.uid)
        connection.observe(sample, now_ns, self._last_sample_ns, self._stall_ns)
        self._note(connection)

    def _note(self, connection: Connection) -> None:
        self._changed.add(connection)
        if not connection.idle:
            self._watched.add(connection)

    def _socket(self, sample: TcpSample) -> Socket:
        return socket_of(sample, self._interfaces, sample.inode, sample.uid, sample.cgroup)

    def _follow_routes(self) -> None:
        """Request interfaces again after a change of routing; idle ones when they are active."""
        if self._interfaces.refresh():
            self._routing += 1
            for connection in self._connections.values():
                interface = self._socket(connection.sample).interface
                connection.socket = replace(connection.socket, interface=interface)

    def _reroute(self, idle: IdleConnection, message: bytes) -> None:
        sample = decode(message)
        if sample is not None:
            idle.interface = self._socket(sample).interface
        idle.routing = self._routing

    def _take_destroyed(self, now_ns: int) -> None:
        for message in self._diag.destroyed():
            sample = decode(message)
            if sample is None:
                continue
            connection = self._connections.get(sample.cookie) or self._make_active(sample)
            if connection is None:
                if self._generation <= _FIRST_SAMPLES:
                    continue  # maybe closed before the first sample: its bytes do not count
                closed_ns = now_ns
                connection = self._add(sample, now_ns)
                self._owner_cache.cancel(connection.socket.inode)
            else:
                was_open = connection.generation >= self._generation - 1
                before_ns = self._last_sample_ns if was_open else self._second_last_ns
                closed_ns = connection.closed_ns(sample, now_ns, before_ns)
                connection.observe(sample, closed_ns, before_ns, self._stall_ns)
            del self._connections[sample.cookie]
            self._close(connection, closed_ns)

    def _close(self, connection: Connection, closed_ns: int) -> None:
        self._detector.end(connection, self._owner(connection), closed_ns)
        self._watched.discard(connection)
        self._owner_cache.cancel(connection.socket.inode)
        self._changed.add(connection)
        self._closed.append(connection)
        if len(self._closed) >= _MOST_CLOSED:
            self._flush_closed()

    def _flush_closed(self) -> None:
        """Reduce closed connections to their events and totals: an interval may last an hour."""
        for connection in self._closed:
            self._changed.discard(connection)
            self._closed_events.add(_changed(connection, self._owner(connection), self._totals))
            self._closed_events.add(connection.ended)
        self._owners.forget([c.socket.inode for c in self._closed])
        self._closed.clear()

    def _drop_vanished(self, now_ns: int) -> None:
        missing: dict[bytes, int] = {}
        for known in (self._connections, self._idle):
            for cookie, one in known.items():
                if one.generation != self._generation:
                    missing[cookie] = self._missing.get(cookie, 0) + 1
        self._missing = missing
        for cookie in [
            cookie for cookie, count in missing.items() if count > _MAX_MISSED_INTERVALS
        ]:
            del missing[cookie]
            connection = self._connections.pop(cookie, None)
            if connection is not None:
                self._close(connection, now_ns)
            else:
                self._vanished.append(inode_and_uid_of(self._idle.pop(cookie))[0])

    def _in_use(self) -> Iterator[tuple[int, int | None, CachedOwner]]:
        for connection in self._changed | self._watched:
            yield connection.sample.inode, connection.socket.uid, connection
        for idle in self._idle_changed:
            yield *inode_and_uid_of(idle), idle

    def _is_pending(self, connection: Connection) -> bool:
        return self._owner_cache.is_pending(connection.socket.inode)

    def _without_owner(self) -> tuple[set[Connection], set[IdleConnection]]:
        """Those that are reported later: their process may still be found."""
        if not self._owner_cache.is_searching:
            return set(), set()
        active = {connection for connection in self._changed if self._is_pending(connection)}
        idle = {
            one
            for one in self._idle_changed
            if self._owner_cache.is_pending(inode_and_uid_of(one)[0])
        }
        return active, idle

    def _owner(self, connection: Connection) -> Process | None:
        return self._owners.get(connection.socket.inode)


def _changed(connection: Connection, owner: Process | None, sums: TrafficTotals) -> Iterator[Event]:
    """Add the bytes since the last call to the sums; yield the retransmits since then."""
    sample, socket = connection.sample, connection.socket
    if not socket.inode and sample.state != CLOSE:
        return  # not accepted yet: reported once it has an inode and an owner
    sent = max(sample.sent_payload - connection.sent, 0)
    received = max(sample.received_payload - connection.received, 0)
    if sent or received:
        sums.add(owner, socket.interface, sent, received)
    retransmits = max(sample.info.total_retrans - connection.retransmits, 0)
    if retransmits:
        duplicates = max(sample.info.dsack_dups - connection.duplicates, 0)
        connection.duplicates += duplicates
        yield SocketError(owner, socket, ErrorKind.RETRANSMIT, retransmits, duplicates=duplicates)
    connection.sent += sent
    connection.received += received
    connection.retransmits += retransmits
