"""All TCP connections, from sock_diag: samples in, facts out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xctl_probe.events import ErrorKind, Fact, Lost, Process, Socket, SocketError
from xctl_probe.fallback import idle_update
from xctl_probe.fallback.closed_events import Ended
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.idle_connection import Resting, inode_and_uid_of, rest, socket_of, wake
from xctl_probe.fallback.owner_cache import Holders, Searched
from xctl_probe.fallback.sock_diag import (
    CLOSE,
    ESTABLISHED,
    LISTEN,
    QUEUES_AND_INODE,
    SYN_SENT,
    SockDiag,
    TcpSample,
    cookie_of,
    decode,
    watch_of,
)
from xctl_probe.fallback.stall_detector import Judge, stall_of
from xctl_probe.fallback.thread_evidence import ProcessEvidence
from xctl_probe.linux.addresses import InterfaceByAddress
from xctl_probe.linux.socket_owners import Owners
from xctl_probe.stalls.reply_waits import Replies
from xctl_probe.stalls.request_history import Dialogue, Endpoints
from xctl_probe.traffic_totals import Sums

# Ends are announced by a kernel worker, so a little late.
_FIRST_LOOKS = 2
_MOST_CLOSED = 4_096  # between two drains
_PATIENCE = 8  # intervals that a socket may be missing before its end counts as not announced


class Connections:
    """The TCP connections of this network namespace.

    Call `sample` as often as is affordable and `collect` once an interval.  Raises OSError
    from both where the kernel stops answering.
    """

    def __init__(
        self,
        diag: SockDiag,
        owners: Owners,
        interfaces: InterfaceByAddress,
        stall_ns: int,
        replies: Replies | None = None,
    ) -> None:
        self._diag = diag
        self._owners = owners
        self._interfaces = interfaces
        self._stall_ns = stall_ns
        self._evidence = ProcessEvidence(owners)
        self._replies = replies or Replies(stall_ns)
        self._judge = Judge(stall_ns, self._evidence, self._replies)
        self._endpoints = Endpoints()
        self._connections: dict[bytes, Connection] = {}
        self._resting: dict[bytes, Resting] = {}  # those on which nothing waits
        self._stirred: set[Resting] = set()  # those of them with something to report
        self._missing: dict[bytes, int] = {}  # for how many intervals the kernel shows it no more
        self._watched: set[Connection] = set()  # those that may be stalled
        self._moved: set[Connection] = set()  # those awake with something to report
        self._sums = Sums()  # the bytes that are reported at the end of this interval
        self._holders = Holders(owners)
        self._closed: list[Connection] = []
        self._ended = Ended()  # what was `_closed`, once that is too many
        self._vanished: list[int] = []  # inodes of those that rested, and whose end was not told
        self._now_ns = self._looked_ns = 0  # this look, and the one before
        self._generation = 0
        self._overruns = 0
        self._routing = 0  # how often the host's routing has changed

    def sample(self, now_ns: int) -> None:
        """Look at every socket once; `now_ns` is the monotonic time."""
        self._generation += 1
        self._evidence.begin()
        self._replies.begin()
        self._looked_ns, self._now_ns = self._now_ns, now_ns
        generation, resting, looked_ns = self._generation, self._resting, self._looked_ns
        stall_ns = self._stall_ns
        for message in self._diag.sockets():
            cookie = cookie_of(message)
            known = resting.get(cookie)
            if known is not None:
                # Nearly all of them, nearly always: this is where the time goes.
                known.generation = generation
                watch = known.watch
                signature = message[watch.counters] + message[QUEUES_AND_INODE]
                if signature == known.signature and len(message) == watch.length:
                    continue
                if idle_update.observe(known, message, now_ns, looked_ns, stall_ns):
                    known.signature = signature
                    self._stirred.add(known)
                    if known.routing != self._routing:
                        self._reroute(known, message)
                    continue
            self._look_at(cookie, message, now_ns)
        self._take_destroyed(now_ns)
        self._holders.find()
        for connection in list(self._watched):
            if connection.generation != self._generation:
                # It has ended, and how will be announced: nothing new is known of it.
                self._judge.end(connection, self._owner(connection), now_ns)
                self._moved.add(connection)
            elif not connection.quiet:
                self._judge.judge(connection, self._owner(connection), now_ns)
                continue
            self._watched.discard(connection)

    def collect(self, now_ns: int, interval_ns: int) -> Iterator[Fact]:  # noqa: ARG002
        """What happened since the last call, after a last sample."""
        self._owners.begin()
        self._follow_routes()
        self.sample(now_ns)
        self._drop_vanished(now_ns)
        self._holders.check(self._in_use())
        idle_update.interval_ended(self._stirred, self._owners, self._sums)
        self._stirred.clear()
        touched = self._moved | self._watched
        for connection in touched:
            owner = self._owner(connection)
            yield from _moved(connection, owner, self._sums)
            yield from connection.ended
            connection.ended.clear()
            if connection.wait:
                yield stall_of(connection, connection.wait, owner, now_ns, ongoing=True)
        yield from self._ended.take()
        yield from self._sums.take()
        self._moved.clear()
        for connection in touched:
            self._rest(connection)
        self._owners.forget([c.socket.inode for c in self._closed])
        self._owners.forget(self._vanished)
        self._vanished.clear()
        self._closed.clear()
        if self._diag.overruns > self._overruns:
            yield Lost("sock_diag", self._diag.overruns - self._overruns)
            self._overruns = self._diag.overruns

    def _look_at(self, cookie: bytes, message: bytes, now_ns: int) -> None:
        connection = self._connections.get(cookie)
        if connection is not None:
            connection.generation = self._generation
            signature = connection.watch.signature(message)
            if signature is not None and signature == connection.signature and connection.quiet:
                return
        sample = decode(message)
        if sample is None:
            return
        if connection is None:
            connection = self._awake(sample)
        if connection is None:
            connection = self._meet(sample, now_ns)
            connection.watch = watch_of(message)
        else:
            self._update(connection, sample, now_ns)
        connection.signature = connection.watch.signature(message)
        if connection not in self._moved:
            self._rest(connection)

    def _awake(self, sample: TcpSample) -> Connection | None:
        """The connection of the sample if it has rested until now."""
        resting = self._resting.pop(sample.cookie, None)
        if resting is None:
            return None
        self._stirred.discard(resting)
        connection = wake(resting, sample, self._interfaces)
        self._connections[sample.cookie] = connection
        return connection

    def _rest(self, connection: Connection) -> None:
        """Let it rest if there is nothing to say of it."""
        cookie, signature = connection.sample.cookie, connection.signature
        alive = self._connections.get(cookie) is connection
        if alive and signature is not None and connection.quiet:
            self._watched.discard(connection)
            resting = rest(connection, signature)
            if resting is not None:
                resting.routing = self._routing
                del self._connections[cookie]
                self._resting[cookie] = resting

    def _meet(self, sample: TcpSample, now_ns: int) -> Connection:
        # The peer of a connection that was accepted is no place that requests are sent to.
        opened = sample.opened
        peer = Dialogue()
        if opened:
            peer = self._endpoints.of(sample.remote_address, sample.remote_port, uid=sample.uid)
        connection = Connection(
            self._socket(sample), sample, watch_of(b""), None, opened, peer, now_ns, sample.mark,
            generation=self._generation,
        )  # fmt: skip
        self._connections[sample.cookie] = connection
        if self._generation == 1:
            connection.sent, connection.received = sample.sent_payload, sample.received_payload
            connection.retransmits = sample.info.total_retrans
        if sample.state != LISTEN:
            connection.meet(now_ns, self._looked_ns)
        if self._generation > 1 or not connection.quiet:
            self._note(connection)
        self._holders.want(connection.socket.inode, connection.socket.uid)
        return connection

    def _update(self, connection: Connection, sample: TcpSample, now_ns: int) -> None:
        before = connection.sample
        if before.state == SYN_SENT and sample.state == ESTABLISHED:
            connection.opened = True
        if sample.inode and sample.inode != connection.socket.inode:
            # It sat in a listener's queue: now it has been accepted, and has an owner.
            connection.socket = self._socket(sample)
            self._holders.want(connection.socket.inode, connection.socket.uid)
        connection.observe(sample, now_ns, self._looked_ns, self._stall_ns)
        self._note(connection)

    def _note(self, connection: Connection) -> None:
        self._moved.add(connection)
        if not connection.quiet:
            self._watched.add(connection)

    def _socket(self, sample: TcpSample) -> Socket:
        return socket_of(sample, self._interfaces, sample.inode, sample.uid, sample.cgroup)

    def _follow_routes(self) -> None:
        """Once an interval; what rests is asked for again when it moves something."""
        if self._interfaces.refresh():
            self._routing += 1
            for connection in self._connections.values():
                interface = self._socket(connection.sample).interface
                connection.socket = replace(connection.socket, interface=interface)

    def _reroute(self, resting: Resting, message: bytes) -> None:
        sample = decode(message)
        if sample is not None:
            resting.interface = self._socket(sample).interface
        resting.routing = self._routing

    def _take_destroyed(self, now_ns: int) -> None:
        for message in self._diag.destroyed():
            sample = decode(message)
            if sample is None:
                continue
            connection = self._connections.get(sample.cookie) or self._awake(sample)
            if connection is None:
                if self._generation <= _FIRST_LOOKS:
                    continue  # it may have ended before the first look, its bytes are not ours
                connection = self._meet(sample, now_ns)
                self._holders.spare(connection.socket.inode)
            else:
                connection.observe(sample, now_ns, self._looked_ns, self._stall_ns)
            del self._connections[sample.cookie]
            self._close(connection, now_ns)

    def _close(self, connection: Connection, now_ns: int) -> None:
        self._judge.end(connection, self._owner(connection), now_ns)
        self._watched.discard(connection)
        self._holders.spare(connection.socket.inode)
        self._moved.add(connection)
        self._closed.append(connection)
        if len(self._closed) >= _MOST_CLOSED:
            self._let_go()

    def _let_go(self) -> None:
        """Keep of all that have ended only what is to be told: an interval may last an hour."""
        for connection in self._closed:
            self._moved.discard(connection)
            self._ended.add(_moved(connection, self._owner(connection), self._sums))
            self._ended.add(connection.ended)
        self._owners.forget([c.socket.inode for c in self._closed])
        self._closed.clear()

    def _drop_vanished(self, now_ns: int) -> None:
        missing: dict[bytes, int] = {}
        for known in (self._connections, self._resting):
            for cookie, one in known.items():
                if one.generation != self._generation:
                    missing[cookie] = self._missing.get(cookie, 0) + 1
        self._missing = missing
        for cookie in [cookie for cookie, count in missing.items() if count > _PATIENCE]:
            del missing[cookie]
            connection = self._connections.pop(cookie, None)
            if connection is not None:
                self._close(connection, now_ns)
            else:
                self._vanished.append(inode_and_uid_of(self._resting.pop(cookie))[0])

    def _in_use(self) -> Iterator[tuple[int, int | None, Searched]]:
        for connection in self._moved | self._watched:
            yield connection.sample.inode, connection.socket.uid, connection
        for resting in self._stirred:
            yield *inode_and_uid_of(resting), resting

    def _owner(self, connection: Connection) -> Process | None:
        return self._owners.of(connection.socket.inode)


def _moved(connection: Connection, owner: Process | None, sums: Sums) -> Iterator[Fact]:
    """Bytes, added to the sums, and retransmits since the last call; moves the marks."""
    sample, socket = connection.sample, connection.socket
    if not socket.inode and sample.state != CLOSE:
        return  # not accepted yet: told once there is a socket to name, and an owner
    sent = max(sample.sent_payload - connection.sent, 0)
    received = max(sample.received_payload - connection.received, 0)
    if sent or received:
        sums.add(owner, socket.interface, sent, received)
    retransmits = max(sample.info.total_retrans - connection.retransmits, 0)
    if retransmits:
        yield SocketError(owner, socket, ErrorKind.RETRANSMIT, retransmits)
    connection.sent += sent
    connection.received += received
    connection.retransmits += retransmits
