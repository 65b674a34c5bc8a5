"""TCP sockets of one process from two samples of sock_diag: times, queues and timers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xctl_probe.commands.why.peers import INODE, peers_of
from xctl_probe.commands.why.sockets import STATES, Peer, Tcp
from xctl_probe.commands.why.upstream import Upstream, with_work
from xctl_probe.fallback.connection import Connection
from xctl_probe.fallback.few_sockets import FewSockets
from xctl_probe.fallback.sock_diag import (
    LISTEN,
    SYN_SENT,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    UNKNOWN_WINDOW,
    TcpSample,
)
from xctl_probe.fallback.stall_detector import send_cause
from xctl_probe.linux.addresses import endpoint_text
from xctl_probe.stalls.policy import STALL_MS

_NS_PER_MS = 1_000_000
_US_PER_MS = 1_000


class DiagSampler:
    """Samples of sock_diag; `stall_ms` is the stall length, `pid` the process."""

    def __init__(self, stall_ms: int = STALL_MS, pid: int | None = None) -> None:
        self._stall_ms = stall_ms
        self._pid = pid
        self._sockets = FewSockets(stall_ms * _NS_PER_MS)
        self._first: dict[int, TcpSample] = {}

    def sample(self, messages: Iterable[bytes], inodes: Iterable[int], now_ns: int) -> None:
        """Add a dump; `now_ns` is its monotonic time."""
        wanted = {inode.to_bytes(4, "little") for inode in inodes}
        self._sockets.sample((one for one in messages if one[INODE] in wanted), now_ns)
        seen = self._sockets.samples
        self._first = {inode: self._first.get(inode, one) for inode, one in seen.items()}

    def tcp(self, fds: dict[int, int], messages: list[bytes], between_ns: int) -> list[Tcp]:
        """Return the sockets as sampled; `messages` are those of the last sample."""
        now_ns = self._sockets.sampled_ns
        connections = self._sockets.connections()
        peers = peers_of(list(self._sockets.samples.values()), messages)
        peers |= self._at_work(peers, connections, messages)
        return [
            _tcp(fds[i], c, self._first[i], now_ns, between_ns, peers.get(i))
            for i, c in connections.items()
        ]

    def _at_work(
        self, peers: dict[int, Peer], connections: dict[int, Connection], messages: list[bytes]
    ) -> dict[int, Peer]:
        """Return idle peers with what they do about a request, or about the rest of a transfer."""
        upstream = Upstream(messages, self._stall_ms, self._pid)
        asked: dict[int, Peer] = {}
        passing_on: dict[int, Peer] = {}
        for inode, peer in peers.items():
            connection = connections[inode]
            if not peer.listens or peer.pid is None or not connection.opened:
                continue
            ms, info = _ago(connection.pending_ns, self._sockets.sampled_ns), connection.sample.info
            if ms is not None:
                asked[inode] = replace(peer, waits_for=upstream.awaited(peer.pid, ms))
            elif info.data_segs_in:
                received_ms = float(info.last_data_recv_ms)
                waits_for = upstream.awaited(peer.pid, received_ms, transfer=True)
                passing_on[inode] = replace(peer, waits_for=waits_for)
        found = passing_on | asked
        idle = {inode: peer for inode, peer in found.items() if peer.waits_for is None}
        return found | with_work(idle)


def _tcp(
    fd: int,
    connection: Connection,
    first: TcpSample,
    now_ns: int,
    between_ns: int,
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
        peer_window_bytes=None if info.snd_wnd == UNKNOWN_WINDOW else info.snd_wnd,
        window_share=min(limited_us * 1_000 / between_ns, 1.0) if between_ns else None,
        unanswered_ms=_unanswered_ms(sample) if awaited else None,
        full_ms=_ago(connection.full_ns, now_ns),
        send_cause=send_cause(connection) if sample.wqueue else None,
        reply_ms=_ago(connection.pending_ns, now_ns) if connection.opened else None,
        hole_ms=_ago(connection.hole_ns, now_ns),
        answered_before=connection.history.expects_reply(),
        unanswered_keepalives=sample.unanswered_keepalives,
        heard_ms=min(info.last_data_recv_ms, info.last_ack_recv_ms),
        peer=peer,
    )


def _ago(since_ns: int | None, now_ns: int) -> float | None:
    return None if since_ns is None else (now_ns - since_ns) / _NS_PER_MS


def _progress(sample: TcpSample) -> tuple[int, ...]:
    return (sample.written, sample.received_payload, sample.rqueue, sample.wqueue, sample.state)


def _unanswered_ms(sample: TcpSample) -> float:
    """Return for how long the first segment of the queue is in flight, from its timer.

    Each expiry doubles the timeout, but the first few of a SYN do not (since kernel 6.5:
    net.ipv4.tcp_syn_linear_timeouts): then there are more retries than doublings.
    """
    info = sample.info
    rto_ms = info.rto_us / _US_PER_MS
    first_ms = rto_ms / (1 << info.backoff)
    constant = max(sample.timer_retries - info.backoff, 0)
    past_ms = first_ms * (constant + (1 << info.backoff) - 1)
    return past_ms + max(rto_ms - sample.timer_expires_ms, 0.0)
