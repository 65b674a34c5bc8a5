"""Request/reply histories in the kernel, by user, program and peer."""

from __future__ import annotations

import struct
from collections.abc import Callable

from xctl_probe.ebpf.abi import ENDPOINT, ENDPOINT_KEY, PEER, RawEvent
from xctl_probe.stalls.request_history import RequestHistory

# The numbers of bpf/include/abi.h: a test compares.
PLACES, TRIES, SHIFT = 1024, 4, 7
FACTOR = 0x9E3779B97F4A7C15
_WORDS = struct.Struct(f"={PEER.size // 8}Q")
_64_BITS = (1 << 64) - 1
_32_BITS = (1 << 32) - 1


def peer_of(record: RawEvent) -> bytes:
    """Return struct peer of the event's connection."""
    return PEER.pack(
        record.remote_address,
        record.comm.split(b"\0", 1)[0],
        record.netns,
        record.remote_port,
        record.family,
    )


def peer_hash(peer: bytes) -> int:
    """Return the hash of the function of this name in bpf/include/peer_history.bpf.h."""
    value = 0
    for word in _WORDS.unpack(peer):
        value = (value ^ word) * FACTOR & _64_BITS
        value ^= value >> 32
    return value & _32_BITS


def places(uid: int, peer: bytes) -> list[bytes]:
    """Return the keys (struct endpoint_key) that the history may have."""
    value = peer_hash(peer)
    return [ENDPOINT_KEY.pack(uid, (value >> i * SHIFT) % PLACES) for i in range(TRIES)]


def request_history_of(record: RawEvent, lookup: Callable[[bytes], bytes | None]) -> RequestHistory:
    """Return the history of this owner and peer; `lookup` reads the map of the kernel."""
    peer = peer_of(record)
    for key in places(record.uid, peer):
        value = lookup(key)
        if value is not None:
            kept, answered, unanswered = ENDPOINT.unpack(value)
            if kept == peer:
                return RequestHistory(answered, unanswered)
    return RequestHistory()
