"""Layout of the fields of an `inet_diag_msg` that are read without decoding the whole message.

They are enough to update an idle connection.  Decoding the whole message costs several times as
much.  The offsets depend on the attributes of the message, so each shape has one layout.
"""

from __future__ import annotations

import struct
import sys
from functools import lru_cache
from typing import NamedTuple

_MSG_BYTES = 72  # struct inet_diag_msg
_HEADER_BYTES = 4  # struct nlattr
_SKMEM_BYTES = 36  # SK_MEMINFO_VARS since 4.12, of which the first six are used
_INFO_BYTES = 232  # struct tcp_info up to snd_wnd (5.4)
# state, bound ifindex, rqueue, wqueue, inode
_MSG = "x B 38x I 12x 2I 4x I"
# the attribute's header; rmem_alloc, sndbuf, wmem_queued
_SKMEM, _SKMEM_USED = "I I 8x I 4x I", 24
# the attribute's header; last_data_sent, last_data_recv, last_ack_recv, total_retrans,
# bytes_acked, bytes_received, data_segs_in, data_segs_out, rwnd_limited, bytes_sent, bytes_retrans
_INFO = "I 44x I 4x 2I 40x I 16x 2Q 16x 2I 16x Q 16x 2Q"


class HotFieldLayout(NamedTuple):
    """Layout for one shape of message, and the two attribute headers that identify the shape."""

    layout: struct.Struct
    memory_header: int
    info_header: int


class AttributeSpan(NamedTuple):
    """Span of an attribute in a message, without its header, in bytes."""

    start: int
    end: int


def hot_field_layout(
    message: bytes, memory: AttributeSpan | None, info: AttributeSpan | None
) -> HotFieldLayout | None:
    """Return the layout for messages of this shape; None where the kernel lacks a field."""
    if memory is None or info is None:
        return None
    if memory.end - memory.start < _SKMEM_BYTES or info.end - info.start < _INFO_BYTES:
        return None
    if info.start < memory.end:  # no kernel does so
        return None
    return _layout(memory.start, info.start, _header(message, memory), _header(message, info))


def _header(message: bytes, place: AttributeSpan) -> int:
    return int.from_bytes(message[place.start - _HEADER_BYTES : place.start], sys.byteorder)


@lru_cache(maxsize=256)
def _layout(memory: int, info: int, memory_header: int, info_header: int) -> HotFieldLayout:
    before_memory = memory - _HEADER_BYTES - _MSG_BYTES
    before_info = info - _HEADER_BYTES - memory - _SKMEM_USED
    layout = struct.Struct(f"={_MSG} {before_memory}x {_SKMEM} {before_info}x {_INFO}")
    return HotFieldLayout(layout, memory_header, info_header)
