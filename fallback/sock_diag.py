"""Requests to sock_diag, which any user may make, and decoding of its messages.

Sources: include/uapi/linux/inet_diag.h, include/uapi/linux/tcp.h, net/ipv4/inet_diag.c.
The kernel's structs only ever grow at the end, so a shorter `tcp_info` (an older kernel) is
read as zeros where it stops and a longer one is cut.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

from xctl_probe.linux.addresses import address_text
from xctl_probe.linux.netlink import NetlinkSocket, messages

NETLINK_SOCK_DIAG = 4
# The request that precedes SOCK_DIAG_BY_FAMILY: only this one covers IPv4 and IPv6 in one
# iteration of the kernel's hash table.  The iteration is half the cost of a small dump.
TCPDIAG_GETSOCK = 18
SOCK_DIAG_BY_FAMILY = 20
DESTROY_GROUPS = (1, 3)  # SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY

ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE, CLOSE_WAIT = 1, 2, 4, 5, 7, 8
LAST_ACK, LISTEN, CLOSING = 9, 10, 11
GOT_FIN = frozenset((CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING))
SENT_FIN = frozenset((CLOSE, FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING))
# TIME_WAIT (6) and NEW_SYN_RECV (12) are not full sockets: no owner, no counters.
_STATES = 0xFFF & ~(1 << 6) & ~(1 << CLOSE)

TIMER_RETRANSMIT, TIMER_KEEPALIVE, TIMER_PROBE = 1, 2, 4

INET_DIAG_INFO, INET_DIAG_SKMEMINFO, INET_DIAG_CGROUP_ID = 2, 7, 21
_EXTENSIONS = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1)

# struct inet_diag_req (compat): family, two lengths, extensions, id, states, dbs
_REQUEST = struct.pack("=BBBB48sII", 0, 0, 0, _EXTENSIONS, b"", _STATES, 0)

# struct inet_diag_msg; the ports are big-endian, so they are taken as bytes
_MSG = struct.Struct("=4B2s2s16s16sI8s5I")
_ATTRIBUTE = struct.Struct("=HH")
_SKMEM = struct.Struct("=9I")
_CGROUP = struct.Struct("=Q")
# struct tcp_info up to snd_wnd (5.4), without unused fields
_INFO = struct.Struct(
    "=B x 3B 3x I 4x I 4x I 16x I 4x 2I 8x I 28x I 4Q 4x 2I 4x 2I 8x 3Q 8x 2Q I 4x 2I"
)
UNKNOWN_WINDOW = (1 << 32) - 1  # no window is that large: 1 GiB is the most
UNKNOWN_PACKS = (1 << 32) - 1  # of `rcv_ooopack`

MESSAGE_BYTES = 72  # without attributes

assert _MSG.size == MESSAGE_BYTES
assert _INFO.size == 232  # noqa: PLR2004


class TcpInfo(NamedTuple):
    """The used fields of `struct tcp_info`.  Ages in ms, totals of time in us."""

    state: int
    retransmits: int
    probes: int
    backoff: int
    rto_us: int
    snd_mss: int  # bytes
    unacked: int  # segments
    last_data_sent_ms: int
    last_data_recv_ms: int
    last_ack_recv_ms: int
    rtt_us: int
    total_retrans: int  # segments
    pacing_rate: int  # bytes a second
    max_pacing_rate: int  # SO_MAX_PACING_RATE; all ones: none
    bytes_acked: int  # counts the SYN of an active opener, and the FIN
    bytes_received: int
    segs_in: int  # ACKs without data included
    notsent_bytes: int
    data_segs_in: int
    data_segs_out: int
    busy_us: int
    rwnd_limited_us: int
    sndbuf_limited_us: int
    bytes_sent: int  # payload, retransmitted bytes included; 0 before kernel 4.19
    bytes_retrans: int
    dsack_dups: int  # segments that the receiver reported to have got twice
    rcv_ooopack: int  # segments that came out of order; UNKNOWN_PACKS before 5.4
    snd_wnd: int  # bytes; UNKNOWN_WINDOW before 5.4


class TcpSample(NamedTuple):
    """One TCP socket at one moment.  Queues in bytes; the cookie as the kernel's 8 bytes."""

    cookie: bytes
    state: int
    timer: int
    timer_retries: int
    timer_expires_ms: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    bound_ifindex: int
    rqueue: int
    wqueue: int
    uid: int
    inode: int
    cgroup: int | None
    rmem_alloc: int
    sndbuf: int
    wmem_queued: int
    info: TcpInfo

    @property
    def sent_payload(self) -> int:
        """Payload bytes acknowledged by the peer."""
        info = self.info
        return sent_payload(info.bytes_acked, info.bytes_sent, info.bytes_retrans)

    @property
    def received_payload(self) -> int:
        """Payload bytes received; `bytes_received` counts the FIN of the peer as a byte.

        A closed socket is assumed to have received a FIN; after a reset the result is a byte too
        low.
        """
        received = self.info.bytes_received
        return received - 1 if received and self.state in GOT_FIN else received

    @property
    def written(self) -> int:
        """Payload bytes that the process has written into the buffer, and the SYN as a byte.

        A FIN also occupies a sequence number.  A closed socket is assumed to have sent one; after a
        reset the result is a byte too low.
        """
        return self.info.bytes_acked + self.wqueue - (self.state in SENT_FIN)

    @property
    def unanswered_keepalives(self) -> int:
        """Probes of an idle connection since the peer's host was last heard, tcp(7)."""
        idle = self.timer == TIMER_KEEPALIVE and not self.wqueue
        return self.timer_retries if idle else 0

    @property
    def opened(self) -> bool:
        """True where this side sent the SYN: its sequence number is one above its payload."""
        info = self.info
        if self.state == SYN_SENT:
            return True
        # A FIN behind unsent data is part of the unsent bytes.
        fin_waits = info.notsent_bytes > 0 and self.state in SENT_FIN
        in_sequence = self.written + fin_waits - info.notsent_bytes
        return in_sequence - (info.bytes_sent - info.bytes_retrans) == 1


_NO_INFO = TcpInfo(*(0 for _ in TcpInfo._fields))._replace(snd_wnd=UNKNOWN_WINDOW)


def sent_payload(bytes_acked: int, bytes_sent: int, bytes_retrans: int) -> int:
    """Return the payload bytes acknowledged by the peer.

    `bytes_acked` counts SYN and FIN as a byte each; `bytes_sent - bytes_retrans` does not.  The
    smaller one is the payload.
    """
    if not bytes_sent:
        return bytes_acked - 1 if bytes_acked > 1 else 0
    return min(bytes_acked, bytes_sent - bytes_retrans)


def decode(message: bytes) -> TcpSample | None:
    """Decode an inet_diag_msg and its attributes; None for a message that is too short."""
    if len(message) < _MSG.size:
        return None
    (family, state, timer, retries, sport, dport, source, destination, ifindex, cookie,
     expires, rqueue, wqueue, uid, inode) = _MSG.unpack_from(message)  # fmt: skip
    info, memory, cgroup = _NO_INFO, (0,) * 9, None
    for kind, start, end in attributes(message):
        if kind == INET_DIAG_INFO:
            whole = end - start >= _INFO.size
            raw = message if whole else message[:end].ljust(start + _INFO.size, b"\0")
            info = TcpInfo._make(_INFO.unpack_from(raw, start))
            if not whole:
                info = info._replace(snd_wnd=UNKNOWN_WINDOW, rcv_ooopack=UNKNOWN_PACKS)
        elif kind == INET_DIAG_SKMEMINFO and end - start >= _SKMEM.size:
            memory = _SKMEM.unpack_from(message, start)
        elif kind == INET_DIAG_CGROUP_ID and end - start >= _CGROUP.size:
            (cgroup,) = _CGROUP.unpack_from(message, start)
    return TcpSample(
        cookie, state, timer, retries, expires,
        address_text(family, source), int.from_bytes(sport, "big"),
        address_text(family, destination), int.from_bytes(dport, "big"),
        ifindex, rqueue, wqueue, uid, inode, cgroup, memory[0], memory[3], memory[5], info,
    )  # fmt: skip


def attributes(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of each attribute, up to the first that does not fit."""
    offset, end = _MSG.size, len(message)
    while offset + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < _ATTRIBUTE.size or offset + length > end:
            return
        yield kind, offset + _ATTRIBUTE.size, offset + length
        offset += (length + 3) & ~3


class SockDiag:
    """Netlink sockets for the dump of all TCP sockets and for the messages of closed ones."""

    def __init__(self) -> None:
        """Raise OSError where sock_diag is refused (gVisor, seccomp)."""
        self._dumps = NetlinkSocket(NETLINK_SOCK_DIAG)
        self._destroyed = NetlinkSocket(NETLINK_SOCK_DIAG)
        self.overruns = 0
        for group in DESTROY_GROUPS:
            self._destroyed.join(group)

    def fileno(self) -> int:
        """Descriptor that is readable when a message of a closed socket has arrived."""
        return self._destroyed.fileno()

    def close(self) -> None:
        """Close both descriptors."""
        self._dumps.close()
        self._destroyed.close()

    def sockets(self) -> Iterator[bytes]:
        """Yield one inet_diag_msg for each TCP socket of this network namespace."""
        dump = self._dumps.dump(TCPDIAG_GETSOCK, _REQUEST)
        return (message for message in dump if len(message) >= _MSG.size)

    def chunks(self) -> Iterator[memoryview]:
        """Yield the same as buffers of netlink messages; one is valid until the next."""
        return self._dumps.dump_chunks(TCPDIAG_GETSOCK, _REQUEST)

    def destroyed(self) -> Iterator[bytes]:
        """Yield the inet_diag_msg of each socket that closed since the last call."""
        while True:
            try:
                buffer = self._destroyed.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1  # the kernel does not report how many it dropped
                continue
            if buffer is None:
                return
            for kind, message in messages(buffer):
                if kind == SOCK_DIAG_BY_FAMILY and len(message) >= _MSG.size:
                    yield message
