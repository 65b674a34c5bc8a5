"""Some sockets from sample to sample, for a command about one process."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from xctl_probe.events import Socket
from xctl_probe.fallback.connection import Connection, connection_of
from xctl_probe.fallback.message_arrays import messages_from
from xctl_probe.fallback.progress import first_seen, observe
from xctl_probe.fallback.row import ROW, Times
from xctl_probe.fallback.sock_diag import TcpSample, decode


class FewSockets:
    """The sockets of one process; `stall_ns` is the stall length.

    `samples` has the last sample of each by inode, `sampled_ns` is when it was taken.
    """

    def __init__(self, stall_ns: int) -> None:
        self._stall_ns = stall_ns
        self._rows = np.zeros(0, ROW)  # in the order of `samples`
        self.samples: dict[int, TcpSample] = {}
        self.sampled_ns = 0

    def sample(self, messages: Iterable[bytes], now_ns: int) -> None:
        """Add a sample of these sockets, each an inet_diag_msg; others are forgotten."""
        taken = {}  # a dump that takes long may contain a socket twice
        for message in messages:
            sample = decode(message)
            if sample is not None:
                taken[sample.inode] = sample, message
        fields = messages_from([message for _, message in taken.values()]).fields
        places = {inode: place for place, inode in enumerate(self.samples)}
        before = np.array([places.get(inode, -1) for inode in taken], np.int64)
        known, new = np.flatnonzero(before >= 0), np.flatnonzero(before < 0)
        seen, added = self._rows[before[known]], np.zeros(len(new), ROW)
        observe(seen, fields[known], Times(now_ns, self.sampled_ns, self._stall_ns))
        first_seen(added, fields[new], Times(now_ns, 0, self._stall_ns))
        self._rows = np.zeros(len(taken), ROW)
        self._rows[known], self._rows[new] = seen, added
        self.samples = {inode: sample for inode, (sample, _) in taken.items()}
        self.sampled_ns = now_ns

    def connections(self) -> dict[int, Connection]:
        """Return the connections of the last sample by inode."""
        return {
            inode: connection_of(self._rows[place], sample, _socket(sample), None)
            for place, (inode, sample) in enumerate(self.samples.items())
        }


def _socket(sample: TcpSample) -> Socket:
    return Socket(
        sample.inode, 0, "tcp", sample.local_address, sample.local_port,
        sample.remote_address, sample.remote_port,
    )  # fmt: skip
