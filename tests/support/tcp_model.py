"""A TCP socket on paper: what happens to it at which millisecond, and what the kernel shows.

The layouts are written out from include/uapi/linux/inet_diag.h and tcp.h with ctypes, and the
counters follow net/ipv4/tcp.c, so that a mistake in the probe's decoding is not repeated.
"""

from __future__ import annotations

import ctypes as c
import socket
import struct

from xctl_probe.events import Process, Socket
from xctl_probe.fallback.sock_diag import TcpSample, decode

MS = 1_000_000
BOOT_NS = 1_009 * 1_000 * MS  # the monotonic clock at the model's millisecond 0
COOKIE, INODE, UID, CGROUP = 0x0123456789ABCDEF, 4_241, 1_009, 7_919
LOCAL, REMOTE = ("10.0.0.7", 40_009), ("10.0.0.11", 5_437)
OWNER = Process(233, 7_001, "client")
SOCKET = Socket(INODE, COOKIE, "tcp", *LOCAL, *REMOTE, "eth0", UID, CGROUP)

ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE, CLOSE_WAIT, LISTEN = 1, 2, 4, 5, 7, 8, 10
LAST_ACK, CLOSING = 9, 11
TIMER_RETRANSMIT, TIMER_KEEPALIVE, TIMER_PROBE = 1, 2, 4
SNDBUF = 87_040
NO_LIMIT = (1 << 64) - 1


class Info(c.Structure):
    """struct tcp_info, Linux 5.4."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (
        *((name, c.c_uint8) for name in (
            "state", "ca_state", "retransmits", "probes", "backoff", "options", "wscale",
            "app_limited",
        )),
        *((name, c.c_uint32) for name in (
            "rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets",
            "last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv",
            "pmtu", "rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss",
            "reordering", "rcv_rtt", "rcv_space", "total_retrans",
        )),
        *((name, c.c_uint64) for name in (
            "pacing_rate", "max_pacing_rate", "bytes_acked", "bytes_received",
        )),
        *((name, c.c_uint32) for name in (
            "segs_out", "segs_in", "notsent_bytes", "min_rtt", "data_segs_in", "data_segs_out",
        )),
        *((name, c.c_uint64) for name in (
            "delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited",
        )),
        ("delivered", c.c_uint32), ("delivered_ce", c.c_uint32),
        ("bytes_sent", c.c_uint64), ("bytes_retrans", c.c_uint64),
        ("dsack_dups", c.c_uint32), ("reord_seen", c.c_uint32),
        ("rcv_ooopack", c.c_uint32), ("snd_wnd", c.c_uint32),
    )  # fmt: skip


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


class Tcp:
    """One connection.  `tick_ms` is the scheduler's tick, to which the kernel knows times."""

    def __init__(self, *, opened: bool = True, tick_ms: int = 1, state: int = ESTABLISHED) -> None:
        self.opened = opened
        self.tick_ms = tick_ms
        self.state = state
        self.syn_deferred = False  # TCP_FASTOPEN_CONNECT: sent with the first data
        self.now_ms = 0
        self.inode = INODE
        self.cookie = COOKIE
        self.local, self.remote = LOCAL, REMOTE
        self.uid = UID
        self.timer = self.timer_retries = 0
        self.written = self.transmitted = self.acked = self.received = 0
        self.fin_sent = self.fin_acked = self.fin_received = 0
        self.retransmitted_bytes = self.retransmits_ever = self.duplicates = 0
        self.segments_out = self.segments_in = self.acks_in = 0
        self.sent_ms = self.received_ms = self.heard_ms = 0  # heard: the peer's latest ACK
        self.rqueue = self.rmem = self.wmem = 0
        self.just_acked = 0  # between the kernel's reads of the queue and of the rest
        self.out_of_order = 0
        self.retransmits = self.probes = self.backoff = self.rwnd_limited_us = 0
        self.snd_wnd = 65_536
        self.pacing_rate, self.max_pacing_rate = 1_000_003, NO_LIMIT

    @property
    def now_ns(self) -> int:
        return BOOT_NS + self.now_ms * MS

    def at(self, now_ms: int) -> Tcp:
        assert now_ms >= self.now_ms
        self.now_ms = now_ms
        return self

    def send(self, count: int, *, segments: int = 1, acked: bool = True) -> Tcp:
        """The process writes, the kernel transmits, and the peer acknowledges."""
        self.written += count
        self.transmitted += count
        self.segments_out += segments
        self.sent_ms = self.now_ms
        if acked:
            self.acknowledge()
        return self

    def acknowledge(self) -> Tcp:
        """A bare ACK for all that was sent comes in."""
        self.acked = self.transmitted
        self.acks_in += 1
        self.heard_ms = self.now_ms
        return self

    def receive(self, count: int, *, segments: int = 1, acks: bool = False) -> Tcp:
        """Data comes in and the process reads it.  `acks`: it acknowledges all that was sent."""
        if acks:
            self.acked = self.transmitted
        self.received += count
        self.segments_in += segments
        self.received_ms = self.heard_ms = self.now_ms
        return self

    def fill(self, count: int) -> Tcp:
        """The process writes until its buffer is full; no more of it goes out."""
        self.written += count
        self.wmem = SNDBUF
        return self

    def message(self) -> bytes:
        """The inet_diag_msg that the kernel would show now."""
        tick = self.tick_ms
        info = Info(
            state=self.state, retransmits=self.retransmits, probes=self.probes,
            backoff=self.backoff, snd_mss=1_448,
            pacing_rate=self.pacing_rate, max_pacing_rate=self.max_pacing_rate,
            unacked=int(self.transmitted > self.acked or self.syn_waits),
            last_data_sent=(self.now_ms // tick - self.sent_ms // tick) * tick,
            last_data_recv=(self.now_ms // tick - self.received_ms // tick) * tick,
            last_ack_recv=(self.now_ms // tick - self.heard_ms // tick) * tick,
            total_retrans=self.retransmits_ever,
            bytes_acked=self.acked + self.fin_acked + (self.opened and self.state != SYN_SENT),
            bytes_received=self.received + self.fin_received,
            notsent_bytes=self.written - self.transmitted,
            segs_in=self.segments_in + self.acks_in,
            data_segs_in=self.segments_in, data_segs_out=self.segments_out,
            bytes_sent=self.transmitted + self.retransmitted_bytes,
            bytes_retrans=self.retransmitted_bytes,
            rwnd_limited=self.rwnd_limited_us,
            dsack_dups=self.duplicates, rcv_ooopack=self.out_of_order, snd_wnd=self.snd_wnd,
        )  # fmt: skip
        memory = struct.pack("=9I", self.rmem, 131_072, 0, SNDBUF, 0, self.wmem, 0, 0, 0)
        return (
            struct.pack("=4B", socket.AF_INET, self.state, self.timer, self.timer_retries)
            + struct.pack(">HH", self.local[1], self.remote[1])
            + socket.inet_aton(self.local[0]).ljust(16, b"\0")
            + socket.inet_aton(self.remote[0]).ljust(16, b"\0")
            + struct.pack("=IQ", 0, self.cookie)
            + struct.pack("=5I", 0, self.rqueue, self._wqueue(), self.uid, self.inode)
            # In the order of inet_sk_diag_fill.
            + attribute(21, struct.pack("=Q", CGROUP))
            + attribute(7, memory)
            + attribute(2, bytes(info))
        )

    def sample(self) -> TcpSample:
        sample = decode(self.message())
        assert sample is not None
        return sample

    @property
    def syn_waits(self) -> bool:
        """A SYN is sent, and not acknowledged."""
        return self.state == SYN_SENT and not self.syn_deferred

    def _wqueue(self) -> int:
        return self.written - self.acked + self.fin_sent - self.fin_acked + self.just_acked
