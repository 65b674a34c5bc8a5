"""The RDMA queue pairs of every process, counted by what they did between two samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from xctl_probe.commands.top.model import QueuePairs
from xctl_probe.commands.why.queue_pairs import QueuePairSampler
from xctl_probe.events import Process
from xctl_probe.linux.procfs import read_process
from xctl_probe.linux.rdma_ports import has_devices

# A dump asks the firmware about each queue pair: samples take 1 % of the time at most.
_LEAST_RATIO = 100


class QueuePairTable:
    """Samples on a thread, because a device whose firmware does not answer blocks its reader.

    Without an RDMA device there is no thread.
    """

    def __init__(
        self,
        open_sampler: Callable[[], QueuePairSampler] = lambda: QueuePairSampler(None),
        process: Callable[[int], Process | None] = read_process,
        present: Callable[[], bool] = has_devices,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._open_sampler = open_sampler
        self._sampler: QueuePairSampler | None = None
        self._process = process
        self._present = present
        self._clock = clock
        self._next_ns = 0
        self._thread: threading.Thread | None = None
        self.rows: tuple[QueuePairs, ...] = ()

    def refresh(self) -> threading.Thread | None:
        """Start a sample, unless one runs or it is too early; `rows` has its result later."""
        if self._thread is not None and self._thread.is_alive():
            return self._thread
        self._thread = None
        if not self._present():
            self._sampler, self.rows = None, ()
        elif self._clock() >= self._next_ns:
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self._thread

    def _sample(self) -> None:
        began_ns = self._clock()
        # Opened again with the first device: the socket of a host without any is not opened.
        if self._sampler is None:
            self._sampler = self._open_sampler()
        self._sampler.sample()
        self.rows = tuple(
            QueuePairs(pid, process.comm if (process := self._process(pid)) else "", on)
            for pid, devices in self._sampler.counts().items()
            for on in devices
        )
        now_ns = self._clock()
        self._next_ns = now_ns + (now_ns - began_ns) * _LEAST_RATIO
