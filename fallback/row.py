"""State of one connection from sample to sample: a row of `ROW`.

Times are monotonic, in ns; UNSET is no time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xctl_probe.fallback.message_arrays import Bools, Records
from xctl_probe.stalls.request_history import RequestHistory

Ints = NDArray[np.int64]

MS = 1_000_000  # in ns
UNSET = int(np.iinfo(np.int64).min)
# Whether a thread waits in a receive while sends get no reply.
UNKNOWN_HABIT, SENDS_ONLY, LISTENS = range(3)
NOT_READ = -1  # of `listened`

ROW = np.dtype(
    [
        # What the last sample showed: `activity` and `queues` change with activity and accept().
        ("activity", "<i8", (5,)), ("queues", "<i8", (2,)), ("state", "u1"), ("retries", "u1"),
        ("written", "<i8"), ("sent_payload", "<i8"), ("received_payload", "<i8"),
        ("segments_out", "<u4"), ("segments_in", "<u4"), ("rwnd_limited_us", "<i8"),
        ("acks_in", "<u4"),  # without data
        ("out_of_order", "<u4"),  # segments that came so, when no unread data was left
        ("wqueue", "<u4"), ("retransmits", "<u4"),
        ("duplicates", "<u4"),  # of them: the receiver reported to have got them twice
        # The turns.
        ("opened", "?"),
        ("order_ambiguous", "?"),  # both sent last within one tick
        ("unsolicited", "?"),  # a few bytes came last, after a silence while no reply was due
        ("held_by_window", "?"),  # the peer's window blocked sends since the last sample
        ("listened", "i1"),  # a thread was in a receive since the last send; NOT_READ
        ("habit", "u1"),  # found before it sent again without a reply
        ("pending_ns", "<i8"),  # when the request without a reply was complete
        ("sent_ns", "<i8"),  # the latest segment with data that went out
        ("wrote_ns", "<i8"),  # when the process last got something into the buffer
        ("received_ns", "<i8"),  # the latest arrival
        ("full_ns", "<i8"),  # since when the send buffer is full
        ("hole_ns", "<i8"),  # since when out-of-order data waits for missing data
        ("flow_begin_ns", "<i8"),  # since when data arrives without a pause; 0: none is expected
        ("flow_bytes", "<i8"),  # `received_payload` at that time
        ("keepalive_ns", "<i8"),  # since when keepalives go unanswered
        ("ask_ns", "<i8"),  # when to read again what a process waits in that only sends
        ("first_sample_ns", "<i8"),
        # RequestHistory
        ("answered", "<u4"), ("unanswered", "<u4"), ("long_waits", "<u4"), ("late_reply", "<u4"),
        ("longest_ns", "<i8"), ("late_ns", "<i8"), ("late_end_ns", "<i8"),
        # What of it was reported.
        ("reported_sent", "<i8"), ("reported_received", "<i8"), ("reported_retransmits", "<u4"),
        ("reported_duplicates", "<u4"),
        # Who and where.
        ("cookie", "<u8"), ("ports", "<u4"), ("inode", "<u4"), ("uid", "<u4"), ("cgroup", "<u8"),
        ("holder", "<i4"), ("interface", "<i4"), ("routing", "<u4"),
        ("peer", "<u8"),  # id() of the history in `Rows.peers`; 0: none
        ("failed_lookups", "<u4"), ("checked", "<i8"),
        # Of the table: the sample that contained it last, and intervals without it.
        ("generation", "<i8"), ("missing", "u1"), ("dirty", "?"), ("sought", "?"), ("active", "?"),
        ("closed", "?"),
    ]
)  # fmt: skip
_HISTORY = ("answered", "unanswered", "long_waits", "longest_ns", "late_reply", "late_ns",
            "late_end_ns")  # fmt: skip


class Times(NamedTuple):
    """When the rows were sampled, and the sample before (0: none); the stall length."""

    now_ns: int | Ints
    last_ns: int | Ints
    stall_ns: int


class Turns(NamedTuple):
    """What a sample adds to the histories of peers: indices of rows."""

    answered: Ints
    late: dict[int, tuple[int, int]]  # of those answered after a long wait: the wait, its end
    unanswered: Ints


class Values:
    """Fields of records as arrays of their own: an operation on these takes half as long.

    They are copies, so they keep the values of before.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, Ints] = {}

    def __call__(self, name: str) -> Ints:
        """Return a field of numbers."""
        values = self._known.get(name)
        if values is None:
            values = self._known[name] = self._records[name].astype(np.int64)
        return values

    def raw(self, name: str) -> NDArray[Any]:
        """Return a field as it is in the records."""
        return self._records[name]

    def flags(self, name: str) -> Bools:
        """Return a field of flags."""
        flags: Bools = self._records[name].copy()
        return flags


def history_of(row: np.void) -> RequestHistory:
    """Return the request/reply history of one connection."""
    return RequestHistory(**{name: int(row[name]) for name in _HISTORY})


def keep_history(row: np.void, history: RequestHistory) -> None:
    """Set the request/reply history of one connection."""
    for name in _HISTORY:
        row[name] = getattr(history, name)
