"""Declared blind spots by the way that bytes take, for the tests of every source.

What is not declared must add up to the byte; what is declared must not show at all, so that a
blind spot that closes is noticed as well as one that opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from support.backends import Backend

# TLS 1.2 with AES-GCM: header, nonce and tag of a record of up to 16 KiB.
RECORD_BYTES, RECORD_OVERHEAD = 16_384, 29


@dataclass(frozen=True)
class BlindSpots:
    """Keys of blind spots that hide what a path sends, and what it receives."""

    sent: tuple[str, ...] = ()
    received: tuple[str, ...] = ()


_STREAM = BlindSpots(("tcp_bytes",), ("tcp_bytes",))
_DATAGRAM = BlindSpots(("udp_bytes",), ("udp_bytes",))
BLIND_SPOTS_OF = {
    **dict.fromkeys(
        (
            *("stream", "stream_v6", "stream_v4_mapped", "sendfile", "splice_out", "peek"),
            *("discard", "urgent", "vectors", "read_write", "zerocopy", "full_buffer"),
            *("fast_open", "ring", "ring_multishot"),
            "ring_zerocopy",
        ),
        _STREAM,
    ),
    "half_closed": BlindSpots(("tcp_bytes", "late_close"), ("tcp_bytes", "late_close")),
    "after_reset": BlindSpots(("tcp_bytes", "aborted"), ("tcp_bytes", "late_close", "reset_byte")),
    "splice_in": BlindSpots(("tcp_bytes",), ("tcp_bytes", "splice_in")),
    "zerocopy_receive": BlindSpots(("tcp_bytes",), ("tcp_bytes", "zerocopy_receive")),
    "tls": _STREAM,
    "mptcp": BlindSpots(("tcp_bytes", "mptcp_bytes"), ("tcp_bytes", "mptcp_bytes")),
    **dict.fromkeys(
        (
            *("udp", "udp_unconnected", "udp_v6", "udp_v4_mapped", "udp_unconnected_v6"),
            *("udp_peek", "udp_cut_short", "udp_whole_length", "udp_segments", "udp_coalesced"),
            *("udp_cork", "udp_batches", "udp_ring"),
        ),
        _DATAGRAM,
    ),
}


# What these hide depends on the moment of a sample: some of it may show, all of it never does.
_PARTLY = {"late_close", "aborted"}


def trouble(
    backend: Backend, path: str, done: Mapping[str, int], found: tuple[int, int], closed: bool
) -> str:
    """What is wrong with the bytes found sent and received; empty where both are as declared.

    `done` has what the process itself counted.  `closed`: it has closed its sockets meanwhile.
    """
    blind_spots = BLIND_SPOTS_OF[path]
    sides = (("sent", blind_spots.sent, found[0]), ("received", blind_spots.received, found[1]))
    wrong = [
        f"{side} {count} of {done[side]} bytes, with {hidden or 'no'} gap"
        for side, keys, count in sides
        for hidden in [{key for key in keys if not backend.sees(key)}]
        if not _right(path, done[side], count, hidden - ({"late_close"} if closed else set()))
    ]
    return "; ".join(wrong)


def _right(path: str, moved: int, found: int, hidden: set[str]) -> bool:
    if hidden - _PARTLY - {"reset_byte"}:
        return found == 0
    if hidden & _PARTLY:
        return found < moved
    if hidden:
        return moved - 1 <= found <= moved  # reset_byte
    # Of encrypted bytes, the process's own count is right, and so is what TCP carried.
    encrypted = moved + RECORD_OVERHEAD * -(-moved // RECORD_BYTES)
    return found == moved or (path == "tls" and found == encrypted)
