"""Updates the packed state of idle connections in place, without unpacking.

Fast path of `Connection.observe` for samples that leave the connection idle.  For any other sample
`update` returns False, and the caller unpacks the connection.  Of ten thousand busy sockets, few
wait for anything, and to unpack each would cost more than everything else in a sample.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from xctl_probe.fallback.connection import MS, acknowledged_late, sent_last
from xctl_probe.fallback.idle_connection import (
    ACCOUNT,
    ACCOUNT_AT,
    INTERVAL,
    INTERVAL_AT,
    SAMPLE,
    IdleConnection,
)
from xctl_probe.fallback.owner_cache import Owners
from xctl_probe.fallback.sock_diag import ESTABLISHED, TIMER_RETRIES, sent_payload
from xctl_probe.stalls.policy import MOST_OF_PING, is_transfer
from xctl_probe.traffic_totals import TrafficTotals


def update(
    idle: IdleConnection, message: bytes, now_ns: int, last_sample_ns: int, stall_ns: int
) -> bool:
    """Update the packed state from a message; False, without a change, where it has to be unpacked.

    The times are those of this sample and the one before (monotonic, ns).
    """
    watch, memory = idle.detector, idle.memory
    hot_fields = watch.hot_fields
    if hot_fields is None or len(message) != watch.length:
        return False
    (
        state, bound_ifindex, rqueue, wqueue, inode,
        memory_header, rmem_alloc, sndbuf, wmem_queued,
        info_header, sent_ms, received_ms, ack_received_ms, retransmits,
        bytes_acked, bytes_received, segments_in, segments_out, rwnd_limited_us,
        bytes_sent, bytes_retrans,
    ) = hot_fields.layout.unpack_from(message)  # fmt: skip
    (
                opened, order_ambiguous, _, last_sent_ns, last_wrote_ns, last_received_ns,
                flow_begin_ns, flow_bytes, answered, known_retransmits, known_inode, _, written,
                known_segments_out, known_segments_in,
        known_rwnd_limited_us, _, _, known_received,
    ) = SAMPLE.unpack_from(memory)  # fmt: skip
    if (
        state != ESTABLISHED
        or wqueue
        or inode != known_inode
        or not inode
        or retransmits != known_retransmits
        or bound_ifindex  # the interface may have a new name
        or wmem_queued >= sndbuf > 0  # the buffer is full
        or (opened and rmem_alloc and not rqueue)  # a hole in the sequence
        or (opened and message[TIMER_RETRIES])  # keepalives go unanswered
        or memory_header != hot_fields.memory_header
        or info_header != hot_fields.info_header
    ):
        return False
    # With an empty queue and before any FIN, all written bytes are acknowledged.
    wrote, received = bytes_acked > written, bytes_received > known_received
    if (
        opened
        and received
        and bytes_received - known_received <= MOST_OF_PING * (segments_in - known_segments_in)
        and (not wrote or sent_ms <= received_ms)
    ):
        return False  # it may be a ping
    if wrote and opened:
        by_segments = segments_out - known_segments_out == segments_in - known_segments_in + 1
        if not received or sent_last(sent_ms, received_ms, ack_received_ms, by_segments):
            return False  # a reply is outstanding now
        answered += 1
    elif (
        order_ambiguous
        and opened
        and not received
        and acknowledged_late(received_ms, ack_received_ms)
    ):
        return False  # the last data was a request
    if wrote:
        last_sent_ns = now_ns - sent_ms * MS if segments_out != known_segments_out else now_ns
        last_wrote_ns = now_ns
    if received:
        paused = last_sample_ns - last_received_ns >= stall_ns
        last_received_ns = max(now_ns - received_ms * MS, last_sample_ns)
        if wrote or paused:
            flow_begin_ns, flow_bytes = last_received_ns, bytes_received
        elif (
            opened
            and flow_begin_ns
            and is_transfer(last_received_ns - flow_begin_ns, bytes_received - flow_bytes)
        ):
            return False  # the transfer may break off
    try:
        latest = SAMPLE.pack(
            opened, wrote and received if wrote or received else order_ambiguous,
            rwnd_limited_us > known_rwnd_limited_us,
            last_sent_ns, last_wrote_ns, last_received_ns, flow_begin_ns, flow_bytes,
            answered, retransmits, inode,
            state, bytes_acked, segments_out, segments_in, rwnd_limited_us, wqueue,
            sent_payload(bytes_acked, bytes_sent, bytes_retrans), bytes_received,
        )  # fmt: skip
    except struct.error:  # counts that no kernel has
        return False
    memory[: SAMPLE.size] = latest
    if wrote and opened:
        idle.peer_history.answered += 1
    return True


def interval_ended(changed: Iterable[IdleConnection], owners: Owners, sums: TrafficTotals) -> None:
    """Add the bytes of the interval of these connections to `sums`, by owner and interface."""
    for idle in changed:
        inode, sent_now, received_now, sent, received = ACCOUNT.unpack_from(idle.memory, ACCOUNT_AT)
        went, came = max(sent_now - sent, 0), max(received_now - received, 0)
        if went or came:
            sums.add(owners.get(inode), idle.interface, went, came)
        INTERVAL.pack_into(idle.memory, INTERVAL_AT, sent + went, received + came)
