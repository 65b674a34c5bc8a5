"""What was reported of a socket, so that nothing counts twice or from before the start.

Of a connection that both sides have closed, or that was reset, no dump has the socket.  Its process
may keep it for long, and its last message comes when that closes it.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import lt

import numpy as np
from numpy.typing import NDArray

from xctl_probe.fallback.message_arrays import Bools, Records
from xctl_probe.fallback.row import MS, Ints

_MOST = 16_384  # sockets
_COUNTERS = {
    "reported_sent": "sent_payload", "reported_received": "received_payload",
    "reported_retransmits": "retransmits", "reported_duplicates": "duplicates",
}  # fmt: skip


def set_reported(rows: Records) -> None:
    """Take all that the rows have for reported."""
    for reported, counter in _COUNTERS.items():
        rows[reported] = rows[counter]


def is_older(last: Records, sampled_ns: int, now_ns: int, first_ns: int) -> Bools:
    """Return which closed sockets, by their last messages, moved data before `first_ns` only.

    `sampled_ns` is the sample before: ages count from the close, which was later.
    """
    since_ms = max(sampled_ns - first_ns, now_ns - sampled_ns) // MS
    older: Bools = np.minimum(last["last_data_sent_ms"], last["last_data_recv_ms"]) > since_ms
    return older


class Vanished:
    """Counters of sockets whose rows are gone without a last message, by cookie."""

    def __init__(self) -> None:
        self._counters: OrderedDict[int, tuple[int, ...]] = OrderedDict()

    def keep(self, rows: Records) -> None:
        """Keep the counters of these rows; the oldest are dropped where they are many."""
        for row in rows:
            self._counters[int(row["cookie"])] = tuple(int(row[c]) for c in _COUNTERS.values())
        while len(self._counters) > _MOST:
            self._counters.popitem(last=False)

    def restore(self, rows: Records, numbers: Ints) -> None:
        """Take what was reported of these rows' sockets for reported."""
        for number in numbers.tolist() if self._counters else ():
            counters = self._counters.pop(int(rows["cookie"][number]), None)
            now = (rows[counter][number] for counter in _COUNTERS.values())
            if counters is None or any(map(lt, now, counters)):
                continue  # it is connected once more: its counters begin anew
            for reported, value in zip(_COUNTERS, counters, strict=True):
                rows[reported][number] = value

    def forget(self, cookies: NDArray[np.uint64]) -> None:
        """Drop sockets that a dump has again: they are connected once more."""
        for cookie in cookies.tolist() if self._counters else ():
            self._counters.pop(cookie, None)
