"""One process's sockets, from two looks a short time apart, as far as the kernel tells.

sock_diag gives times, queues and timers of TCP; /proc/<pid>/net gives its queues and timers
only, but also UDP, and for any network namespace.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.addresses import endpoint_text
from xctl_probe.dialogue import Dialogue
from xctl_probe.facts import Socket
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.proc_net import Row, parse
from xctl_probe.fallback.sock_diag import (
    CLOSE,
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    LISTEN,
    SYN_SENT,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    TcpSample,
    decode,
    watch_of,
)
from xctl_probe.owners import Owners

STATES = {
    ESTABLISHED: "ESTABLISHED", SYN_SENT: "SYN_SENT", 3: "SYN_RECV", FIN_WAIT1: "FIN_WAIT1",
    FIN_WAIT2: "FIN_WAIT2", 6: "TIME_WAIT", CLOSE: "CLOSE", CLOSE_WAIT: "CLOSE_WAIT",
    LAST_ACK: "LAST_ACK", LISTEN: "LISTEN", CLOSING: "CLOSING",
}  # fmt: skip

# In struct inet_diag_msg: the two ports, this side's first, big-endian; the inode.
_PORTS, _INODE = slice(4, 8), slice(68, 72)
_NS_PER_MS = 1_000_000
_US_PER_MS = 1_000
_STALL_NS = 100_000_000
_SOCKET = "socket:["


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end, where it is on this host and may be looked at."""

    unread_bytes: int
    pid: int | None
    comm: str | None
    stopped: bool


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP socket at the second look.  None: not known, or it never happened.

    Queues in bytes; of a listener `receive_queue` counts connections that wait to be accepted
    and `send_queue` is the most that may.  Times in ms before the look.
    """

    fd: int
    inode: int
    state: str
    local: str
    remote: str
    receive_queue: int
    send_queue: int
    opened: bool | None  # by this side
    moved: bool  # between the looks
    probing: bool  # the peer's window is closed: only probes of it are sent
    retransmits: int  # of what is at the head of the queue, or of the SYN
    next_try_ms: int | None
    not_sent_bytes: int | None = None
    unacked_segments: int | None = None
    last_send_ms: int | None = None
    last_receive_ms: int | None = None
    rtt_ms: float | None = None
    rto_ms: float | None = None
    retransmits_ever: int | None = None
    backoff: int | None = None
    peer_window_bytes: int | None = None
    window_share: float | None = None  # of the time between the looks it held us up
    unanswered_ms: float | None = None  # since what is being retransmitted was first sent
    full_ms: float | None = None  # since when the send buffer is full
    reply_ms: float | None = None  # since when a reply is outstanding
    hole_ms: float | None = None  # since when later data waits for what is missing
    answered_before: bool = False
    peer: Peer | None = None

    @property
    def listening(self) -> bool:
        """True for a listener."""
        return self.state == STATES[LISTEN]

    @property
    def window_closed(self) -> bool:
        """True when something is to be sent, and the peer's window lets nothing through."""
        return self.probing or (self.peer_window_bytes == 0 and bool(self.not_sent_bytes))


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP socket.  Queues in bytes of kernel memory; `drops` are datagrams, ever."""

    fd: int
    inode: int
    local: str
    remote: str | None  # None when it is not connected
    receive_queue: int
    send_queue: int
    drops: int


def socket_fds(pid: int, proc: Path = Path("/proc")) -> dict[int, int]:
    """Descriptors by inode: the sockets that the process holds; the lowest of several.

    Raises PermissionError where one may not look, FileNotFoundError when it is gone.
    """
    folder = proc / str(pid) / "fd"
    found: dict[int, int] = {}
    for fd in sorted(map(int, os.listdir(folder))):
        try:
            target = os.readlink(folder / str(fd))
        except OSError:
            continue  # closed meanwhile
        if target.startswith(_SOCKET):
            found.setdefault(int(target[len(_SOCKET) : -1]), fd)
    return found


class DiagLooks:
    """Two looks through sock_diag; `peers` finds the process at the other end of a socket."""

    def __init__(self) -> None:
        self._connections: dict[int, Connection] = {}
        self._signatures: dict[int, bytes] = {}
        self._first: dict[int, TcpSample] = {}
        self._looked_ns = 0

    def look(self, messages: Iterable[bytes], inodes: Iterable[int], now_ns: int) -> None:
        """Take in a dump; `now_ns` is the monotonic time when it was made."""
        wanted = {inode.to_bytes(4, "little") for inode in inodes}
        seen = {}
        for message in messages:
            if message[_INODE] not in wanted:
                continue
            sample = decode(message)
            if sample is None:
                continue
            seen[sample.inode] = self._connections.get(sample.inode) or _met(sample, now_ns)
            if sample.inode in self._connections:
                seen[sample.inode].observe(sample, now_ns, self._looked_ns, _STALL_NS)
            else:
                self._first[sample.inode] = sample
        self._connections, self._looked_ns = seen, now_ns

    def tcp(self, fds: dict[int, int], messages: list[bytes], gap_ns: int) -> list[Tcp]:
        """What the looks have shown; `messages` are those of the last look."""
        peers = _peers([c.sample for c in self._connections.values()], messages)
        return [
            _tcp(fds[i], c, self._first[i], self._looked_ns, gap_ns, peers.get(i))
            for i, c in self._connections.items()
        ]


def _met(sample: TcpSample, now_ns: int) -> Connection:
    socket = Socket(
        sample.inode, 0, "tcp", sample.local_address, sample.local_port,
        sample.remote_address, sample.remote_port,
    )  # fmt: skip
    connection = Connection(socket, sample, watch_of(b""), None, sample.opened, Dialogue(), now_ns)
    if sample.state != LISTEN:
        connection.meet(now_ns, 0)
    return connection


def _tcp(
    fd: int,
    connection: Connection,
    first: TcpSample,
    now_ns: int,
    gap_ns: int,
    peer: Peer | None,
) -> Tcp:
    sample = connection.sample
    info = sample.info
    limited_us = info.rwnd_limited_us - first.info.rwnd_limited_us
    retransmitting = sample.timer == TIMER_RETRANSMIT and sample.timer_retries > 0
    awaited = sample.state == SYN_SENT or retransmitting
    waits = sample.timer in (TIMER_RETRANSMIT, TIMER_PROBE)
    return Tcp(
        fd=fd,
        inode=sample.inode,
        state=STATES.get(sample.state, str(sample.state)),
        local=endpoint_text(sample.local_address, sample.local_port),
        remote=endpoint_text(sample.remote_address, sample.remote_port),
        receive_queue=sample.rqueue,
        send_queue=sample.wqueue,
        opened=None if sample.state == LISTEN else connection.opened,
        moved=_progress(first) != _progress(sample),
        probing=sample.timer == TIMER_PROBE,
        retransmits=sample.timer_retries if sample.timer == TIMER_RETRANSMIT else 0,
        next_try_ms=sample.timer_expires_ms if waits else None,
        not_sent_bytes=info.notsent_bytes,
        unacked_segments=info.unacked,
        last_send_ms=info.last_data_sent_ms if info.data_segs_out else None,
        last_receive_ms=info.last_data_recv_ms if info.data_segs_in else None,
        rtt_ms=info.rtt_us / _US_PER_MS,
        rto_ms=info.rto_us / _US_PER_MS,
        retransmits_ever=info.total_retrans,
        backoff=info.backoff,
        peer_window_bytes=info.snd_wnd,
        window_share=min(limited_us * 1_000 / gap_ns, 1.0) if gap_ns else None,
        unanswered_ms=_unanswered_ms(sample) if awaited else None,
        full_ms=_ago(connection.full_ns, now_ns),
        reply_ms=_ago(connection.pending_ns, now_ns) if connection.opened else None,
        hole_ms=_ago(connection.hole_ns, now_ns),
        answered_before=connection.dialogue.expects_reply(),
        peer=peer,
    )


def _ago(since_ns: int | None, now_ns: int) -> float | None:
    return None if since_ns is None else (now_ns - since_ns) / _NS_PER_MS


def _progress(sample: TcpSample) -> tuple[int, ...]:
    return (sample.written, sample.received_payload, sample.rqueue, sample.wqueue, sample.state)


def _unanswered_ms(sample: TcpSample) -> float:
    """Since when the first segment in the queue is on its way, from its timer.

    Each expiry doubles the timeout, but the first few of a SYN do not (since kernel 6.5:
    net.ipv4.tcp_syn_linear_timeouts): then there are more retries than doublings.
    """
    info = sample.info
    rto_ms = info.rto_us / _US_PER_MS
    first_ms = rto_ms / (1 << info.backoff)
    constant = max(sample.timer_retries - info.backoff, 0)
    past_ms = first_ms * (constant + (1 << info.backoff) - 1)
    return past_ms + max(rto_ms - sample.timer_expires_ms, 0.0)


def _peers(samples: list[TcpSample], messages: list[bytes]) -> dict[int, Peer]:
    """Inode to the other end, for the sockets whose other end is on this host, too."""
    by_ports: dict[bytes, list[bytes]] = {}
    for message in messages:
        by_ports.setdefault(message[_PORTS], []).append(message)
    ends: dict[int, TcpSample] = {}
    for sample in samples:
        swapped = struct.pack(">HH", sample.remote_port, sample.local_port)
        for message in by_ports.get(swapped, ()):
            other = decode(message)
            if other is not None and _are_ends(sample, other):
                ends[sample.inode] = other
    owners = Owners()
    owners.search({other.inode for other in ends.values()} - {0})
    return {inode: _described(other, owners) for inode, other in ends.items()}


def _are_ends(one: TcpSample, other: TcpSample) -> bool:
    return (one.local_address, one.remote_address) == (other.remote_address, other.local_address)


def _described(other: TcpSample, owners: Owners) -> Peer:
    process = owners.of(other.inode) if other.inode else None
    if process is None:
        return Peer(other.rqueue, None, None, stopped=False)
    return Peer(other.rqueue, process.pid, process.comm, _is_stopped(process.pid))


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1] == [b"T"]
    except OSError:
        return False


class ProcLooks:
    """Two looks at /proc/<pid>/net: what is left where sock_diag is refused."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._net = proc / str(pid) / "net"
        self._first: dict[int, Row] = {}
        self._last: dict[int, Row] = {}

    def look(self, inodes: Iterable[int]) -> None:
        """Read both tables.  Raises OSError where there is none."""
        wanted = {inode for inode in inodes if inode}
        rows = {row.inode: row for row in self._rows() if row.inode in wanted}
        self._first = {inode: self._first.get(inode, row) for inode, row in rows.items()}
        self._last = rows

    def _rows(self) -> Iterator[Row]:
        yield from parse((self._net / "tcp").read_bytes())
        yield from parse(_or_empty(self._net / "tcp6"))

    def tcp(self, fds: dict[int, int]) -> list[Tcp]:
        """What the looks have shown."""
        return [_of_row(fds[inode], row, self._first[inode]) for inode, row in self._last.items()]


def _of_row(fd: int, row: Row, first: Row) -> Tcp:
    return Tcp(
        fd=fd,
        inode=row.inode,
        state=STATES.get(row.state, str(row.state)),
        local=endpoint_text(row.local_address, row.local_port),
        remote=endpoint_text(row.remote_address, row.remote_port),
        receive_queue=row.rx_queue,
        send_queue=row.tx_queue,
        opened=True if row.state == SYN_SENT else None,
        moved=(first.tx_queue, first.rx_queue) != (row.tx_queue, row.rx_queue),
        probing=row.timer == TIMER_PROBE,
        retransmits=row.retries if row.timer == TIMER_RETRANSMIT else 0,
        next_try_ms=None,
    )


def udp_sockets(pid: int, fds: dict[int, int], proc: Path = Path("/proc")) -> list[Udp]:
    """The process's UDP sockets; the last column of /proc/net/udp counts the drops."""
    net = proc / str(pid) / "net"
    found = []
    for name in ("udp", "udp6"):
        for line in _or_empty(net / name).splitlines()[1:]:
            for row in parse(b"\n" + line):
                if row.inode in fds:
                    found.append(_udp(fds[row.inode], row, line))
    return found


def _udp(fd: int, row: Row, line: bytes) -> Udp:
    drops = line.split()[-1]
    return Udp(
        fd,
        row.inode,
        endpoint_text(row.local_address, row.local_port),
        endpoint_text(row.remote_address, row.remote_port) if row.remote_port else None,
        row.rx_queue,
        row.tx_queue,
        int(drops) if drops.isdigit() else 0,
    )


def _or_empty(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # IPv6 is off, or UDP is
